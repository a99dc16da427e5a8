"""The detector's network: YOLOX in Keras 3 with `keras.ops` only.

An anchor-free, one-stage detector (Ge et al., YOLOX, 2021, arXiv:2107.08430): a CSPDarknet (Wang et al., CSPNet,
2019, arXiv:1911.11929) gives features at 8, 16 and 32 pixels, a path aggregation neck (Liu et al., PANet, 2018,
arXiv:1803.01534) mixes them, and a decoupled head says for every cell whether an object is there, which class it
is and where its box lies. An optional branch gives appearance vectors, as in FairMOT (Zhang et al., 2020,
arXiv:2004.01888), but by body parts and from the features before the neck: what it takes to say "person" is the same
for all persons. Layers carry the names of the published implementation, so its weights load by name.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers, ops

from pathcast.detection.grid import grid
from pathcast.detection.looks import PARTS, pooled_looks
from pathcast.detection.settings import STRIDES, TOP_K, DetectorSettings

LOOKS_PREFIX = "emb_"
"""Of the names of the layers of the branch for appearance vectors."""

_PRIOR = 0.01
"""Share of cells taken for objects by a fresh network (Lin et al., Focal Loss, 2017, section 4.1)."""


@keras.saving.register_keras_serializable(package="pathcast")
class BoxDecoder(layers.Layer):  # type: ignore[misc]
    """(n, cells, 4) offsets and log sizes in strides → xyxy in input pixels, for grids of `height` x `width`."""

    def __init__(self, height: int, width: int, **options: Any) -> None:
        super().__init__(**options)
        self.height, self.width = height, width

    def call(self, rows: Any) -> Any:
        corners, strides = grid(self.height, self.width)
        # A column for x and one for y: broadcasting along the last axis is slow in onnxruntime.
        strides = np.repeat(strides[:, None], 2, axis=1)
        centres = (rows[..., :2] + corners) * strides
        # A wild log size of an early step must not become infinite: e**8 strides is far beyond any image.
        half_sizes = ops.exp(ops.minimum(rows[..., 2:], 8.0)) * (strides / 2)
        return ops.concatenate([centres - half_sizes, centres + half_sizes], axis=-1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "height": self.height, "width": self.width}


@keras.saving.register_keras_serializable(package="pathcast")
class BestCells(layers.Layer):  # type: ignore[misc]
    """The `top_k` cells of the best score; what a client gets, before suppression of overlaps.

    boxes (n, a, 4), objectness (n, a) and class logits (n, a, c) → boxes (n, k, 4), scores (n, k) descending,
    classes (n, k); with a map of looks (n, h, w, parts x d) also the boxes' embeddings (n, k, d).
    """

    def __init__(self, top_k: int, **options: Any) -> None:
        super().__init__(**options)
        self.top_k = top_k

    def call(self, boxes: Any, objectness: Any, classes: Any, looks: Any = None) -> dict[str, Any]:
        scores = ops.sigmoid(objectness) * ops.sigmoid(ops.max(classes, axis=-1))
        best, cells = ops.top_k(scores, self.top_k)
        # Of boxes and classes at once, for a choice along an axis is a dozen ONNX operators.
        chosen = ops.take_along_axis(ops.concatenate([boxes, classes], axis=-1), cells[..., None], axis=1)
        # The class by a top-1 of the chosen rows: Keras writes an argmax with bit operators that ONNX lacks.
        _, class_ids = ops.top_k(chosen[..., 4:], 1)
        found = {"boxes": chosen[..., :4], "scores": best, "classes": ops.cast(class_ids[..., 0], "int64")}
        if looks is not None:
            found["embeddings"] = pooled_looks(looks, found["boxes"])
        return found

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "top_k": self.top_k}


def build_detector(settings: DetectorSettings) -> keras.Model:
    """A fresh network for training: `images` UINT8 (n, h, w, 3) RGB → a mapping over all cells.

    `boxes` (n, a, 4) xyxy in input pixels, `objectness` (n, a) and `classes` (n, a, c) as logits and, where the
    settings say so, `looks` (n, h, w, parts x d), of which `pooled_looks` makes a box's appearance vector. Initial
    weights come from Keras's global seed.
    """
    images = keras.Input((settings.input_height, settings.input_width, 3), name="images", dtype="uint8")
    finest, *levels = _backbone(settings, ops.cast(images, "float32"))
    outputs = _head(settings, _neck(settings, *levels))
    if settings.embedding:
        outputs["looks"] = _looks(settings, finest, levels[0])
    return keras.Model(images, outputs, name="detector")


def serving_model(model: keras.Model, top_k: int = TOP_K) -> keras.Model:
    """The network with the top-K in its graph: outputs `boxes`, `scores`, `classes` and perhaps `embeddings`."""
    raw = model.output
    top_k = min(top_k, raw["boxes"].shape[1])
    best = BestCells(top_k, dtype="float32", name="best_cells")
    return keras.Model(model.input, best(*(raw[name] for name in raw)), name="detector")


def convolution_names(settings: DetectorSettings) -> list[str]:
    """The names of all convolution layers in the order in which YOLOX calls them, and so in which it is traced."""
    split = ("dconv", "pconv") if settings.depthwise else ("",)

    def full(name: str) -> list[str]:
        return [f"{name}.{part}".rstrip(".") for part in split]

    def stage(name: str, blocks: int) -> list[str]:
        inner = [
            part for index in range(blocks) for part in (f"{name}.m.{index}.conv1", *full(f"{name}.m.{index}.conv2"))
        ]
        return [f"{name}.conv1", f"{name}.conv2", *inner, f"{name}.conv3"]

    names = ["stem"]
    for level, blocks in zip((2, 3, 4, 5), (3, 9, 9, 3), strict=True):
        names += full(f"dark{level}.0")
        if level == 5:
            names += ["dark5.1.conv1", "dark5.1.conv2", *stage("dark5.2", settings.blocks(blocks))]
        else:
            names += stage(f"dark{level}.1", settings.blocks(blocks))
    neck = settings.blocks(3)
    names += ["lateral_conv0", *stage("C3_p4", neck), "reduce_conv1", *stage("C3_p3", neck)]
    names += [*full("bu_conv2"), *stage("C3_n3", neck), *full("bu_conv1"), *stage("C3_n4", neck)]
    for level in range(len(STRIDES)):
        names.append(f"stems.{level}")
        names += [part for index in range(2) for part in full(f"cls_convs.{level}.{index}")] + [f"cls_preds.{level}"]
        names += [part for index in range(2) for part in full(f"reg_convs.{level}.{index}")]
        names += [f"reg_preds.{level}", f"obj_preds.{level}"]
    return names


def _unit(settings: DetectorSettings, features: Any, channels: int, kernel: int, stride: int, name: str) -> Any:
    """A convolution with padding as in the published network, normalisation or bias, and activation."""
    padding = "same"
    if stride == 2 and kernel == 3:
        # "same" would pad the far side of an even image alone.
        features = layers.ZeroPadding2D(((1, 0), (1, 0)), name=f"{name}.pad")(features)
        padding = "valid"
    features = layers.Conv2D(
        channels, kernel, stride, padding, use_bias=not settings.normalised, kernel_initializer="he_normal", name=name
    )(features)
    return _activated(settings, features, name)


def _depthwise(settings: DetectorSettings, features: Any, stride: int, name: str) -> Any:
    padding = "same"
    if stride == 2:
        features = layers.ZeroPadding2D(((1, 0), (1, 0)), name=f"{name}.pad")(features)
        padding = "valid"
    features = layers.DepthwiseConv2D(
        3, stride, padding, use_bias=not settings.normalised, depthwise_initializer="he_normal", name=name
    )(features)
    return _activated(settings, features, name)


def _activated(settings: DetectorSettings, features: Any, name: str) -> Any:
    if settings.normalised:
        features = layers.BatchNormalization(momentum=0.97, epsilon=1e-3, name=f"{name}.bn")(features)
    return layers.Activation(settings.activation, name=f"{name}.act")(features)


def _full(settings: DetectorSettings, features: Any, channels: int, stride: int, name: str) -> Any:
    """A 3x3 convolution, or its two parts where the network is depthwise."""
    if not settings.depthwise:
        return _unit(settings, features, channels, 3, stride, name)
    return _unit(settings, _depthwise(settings, features, stride, f"{name}.dconv"), channels, 1, 1, f"{name}.pconv")


def _stage(settings: DetectorSettings, features: Any, channels: int, blocks: int, name: str, *, residual: bool) -> Any:
    """A cross stage partial stage: half of the channels go through the blocks, half beside them."""
    half = channels // 2
    main = _unit(settings, features, half, 1, 1, f"{name}.conv1")
    side = _unit(settings, features, half, 1, 1, f"{name}.conv2")
    for index in range(blocks):
        inner = _unit(settings, main, half, 1, 1, f"{name}.m.{index}.conv1")
        inner = _full(settings, inner, half, 1, f"{name}.m.{index}.conv2")
        main = layers.Add(name=f"{name}.m.{index}.add")([inner, main]) if residual else inner
    merged = layers.Concatenate(name=f"{name}.merge")([main, side])
    return _unit(settings, merged, channels, 1, 1, f"{name}.conv3")


def _backbone(settings: DetectorSettings, pixels: Any) -> list[Any]:
    """Features at 4, 8, 16 and 32 pixels.

    YOLOX's first layer folds blocks of 2x2 pixels into channels before a 3x3 convolution; a 6x6 convolution of
    stride 2 computes the same in one step.
    """
    size = settings.channels
    features = _unit(settings, pixels, size(64), 6, 2, "stem")
    found = []
    for level, channels, blocks in ((2, 128, 3), (3, 256, 9), (4, 512, 9), (5, 1024, 3)):
        features = _full(settings, features, size(channels), 2, f"dark{level}.0")
        stage = f"dark{level}.1"
        if level == 5:
            features = _pooled(settings, features, size(channels))
            stage = "dark5.2"
        features = _stage(settings, features, size(channels), settings.blocks(blocks), stage, residual=level != 5)
        found.append(features)
    return found


def _pooled(settings: DetectorSettings, features: Any, channels: int) -> Any:
    """Spatial pyramid pooling over 5, 9 and 13 cells; a 9 is a 5 of a 5."""
    reduced = _unit(settings, features, channels // 2, 1, 1, "dark5.1.conv1")
    pools = [reduced]
    for reach in (5, 9, 13):
        pools.append(layers.MaxPooling2D(5, 1, "same", name=f"dark5.1.pool{reach}")(pools[-1]))
    return _unit(settings, layers.Concatenate(name="dark5.1.merge")(pools), channels, 1, 1, "dark5.1.conv2")


def _neck(settings: DetectorSettings, fine: Any, middle: Any, coarse: Any) -> tuple[Any, Any, Any]:
    size, blocks = settings.channels, settings.blocks(3)

    def joined(name: str, one: Any, other: Any, channels: int) -> Any:
        merged = layers.Concatenate(name=f"{name}.join")([one, other])
        return _stage(settings, merged, size(channels), blocks, name, residual=False)

    top = _unit(settings, coarse, size(512), 1, 1, "lateral_conv0")
    mixed = joined("C3_p4", layers.UpSampling2D(name="up0")(top), middle, 512)
    reduced = _unit(settings, mixed, size(256), 1, 1, "reduce_conv1")
    out_fine = joined("C3_p3", layers.UpSampling2D(name="up1")(reduced), fine, 256)
    out_middle = joined("C3_n3", _full(settings, out_fine, size(256), 2, "bu_conv2"), reduced, 512)
    out_coarse = joined("C3_n4", _full(settings, out_middle, size(512), 2, "bu_conv1"), top, 1024)
    return out_fine, out_middle, out_coarse


def _head(settings: DetectorSettings, levels: tuple[Any, Any, Any]) -> dict[str, Any]:
    width, parts = settings.channels(256), {"reg": 4, "obj": 1, "cls": settings.classes}
    found: dict[str, list[Any]] = {part: [] for part in parts}
    prior = keras.initializers.Constant(-np.log((1 - _PRIOR) / _PRIOR))
    for level, features in enumerate(levels):
        stem = _unit(settings, features, width, 1, 1, f"stems.{level}")
        branches = {}
        for branch in ("cls", "reg"):
            branches[branch] = stem
            for index in range(2):
                branches[branch] = _full(settings, branches[branch], width, 1, f"{branch}_convs.{level}.{index}")
        for part, channels in parts.items():
            predicted = layers.Conv2D(
                channels,
                1,
                # In float32 whatever the network trains in: exponentials and logits follow.
                dtype="float32",
                kernel_initializer=keras.initializers.RandomNormal(stddev=0.01),
                bias_initializer=prior if part in ("obj", "cls") else "zeros",
                name=f"{part}_preds.{level}",
            )(branches["reg" if part == "obj" else part])
            rows, columns = predicted.shape[1:3]
            found[part].append(ops.reshape(predicted, (-1, rows * columns, channels)))
    rows = {part: layers.Concatenate(axis=1, dtype="float32", name=f"{part}_rows")(found[part]) for part in parts}
    decoder = BoxDecoder(settings.input_height, settings.input_width, dtype="float32", name="boxes")
    return {"boxes": decoder(rows["reg"]), "objectness": rows["obj"][..., 0], "classes": rows["cls"]}


def _looks(settings: DetectorSettings, finest: Any, fine: Any) -> Any:
    """The map of looks from features at 4 and 8 pixels; what is learned of identities does not reach back to them."""
    halved = layers.AveragePooling2D(2, name=f"{LOOKS_PREFIX}halved")(finest)
    features = layers.Concatenate(name=f"{LOOKS_PREFIX}join")([halved, fine])
    features = _unit(settings, ops.stop_gradient(features), settings.channels(256), 1, 1, f"{LOOKS_PREFIX}conv")
    return layers.Conv2D(
        PARTS * settings.embedding,
        1,
        dtype="float32",
        kernel_initializer=keras.initializers.RandomNormal(stddev=0.01),
        name=f"{LOOKS_PREFIX}preds",
    )(features)
