"""Training of the detector: labelled images in, the shared loop around it, COCO's metrics on the way."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from keras import ops

from pathcast.core.arrays import Float64Array, UInt8Array
from pathcast.core.detections import Detections
from pathcast.core.errors import InvalidInputError
from pathcast.detection.augmentation import AugmentationSettings, Sample, augmented
from pathcast.detection.average_precision import average_precision
from pathcast.detection.grid import grid
from pathcast.detection.labelled import LabelledImages
from pathcast.detection.looks import pooled_looks
from pathcast.detection.losses import detection_loss, identity_loss
from pathcast.detection.model import LOOKS_PREFIX, build_detector, serving_model
from pathcast.detection.samples import PADDING, InputSize, as_sample, fitted
from pathcast.detection.settings import DetectorSettings
from pathcast.training.predictors import Predict, detect
from pathcast.training.share import Share
from pathcast.training.workers import Workers

_log = logging.getLogger(__name__)

ALL, LOOKS = "all", "looks"
_COLUMNS = ("xyxy", "scores", "class_ids")
_IDENTITIES_HINT = (
    "label with identities, as MOT sequences, CVAT's tracks and `pathcast label` have them; the part val "
    "takes --option val of each recording, stills_val of images without a time"
)


@dataclass(frozen=True, slots=True)
class DetectorTask:
    """The detector's part of the training loop.

    An epoch is `samples` draws (0: as many as there are images); a camera is drawn in proportion to its images to
    the power of `balance`, so that one long recording does not drown the others, times its entry in `weights`.
    Images with more than `boxes` boxes lose the smallest.
    `learn`: ALL, or LOOKS for the branch of appearance vectors alone; what finds the objects then stays as it is, and
    both parts must have objects to tell apart. With ALL a warning tells where the training part has none for the
    branch. Looks are learned by comparing the boxes of one piece of a batch, so how it is cut shows in them.
    """

    train: LabelledImages
    val: LabelledImages
    settings: DetectorSettings
    augmentation: AugmentationSettings = field(default_factory=AugmentationSettings)
    samples: int = 0
    boxes: int = 64
    learn: str = ALL
    balance: float = 0.5
    weights: Mapping[str, float] = field(default_factory=dict)
    _opened: dict[int, Sample] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if self.learn not in (ALL, LOOKS):
            raise InvalidInputError(f"learn: expected {ALL} or {LOOKS}, got {self.learn!r}")
        if self.learn == LOOKS and not self.settings.embedding:
            raise InvalidInputError(
                f"learn={LOOKS}: the network has no branch for appearance vectors",
                hint="give it one: `pathcast data weights --embedding`, or --set embedding=64",
            )
        if self.learn == LOOKS:
            for part, labelled in (("train", self.train), ("val", self.val)):
                if lack := _nothing_to_tell_apart(part, labelled):
                    raise InvalidInputError(f"learn={LOOKS}: {lack}", hint=_IDENTITIES_HINT)
        elif self.settings.embedding and (lack := _nothing_to_tell_apart("train", self.train)):
            _log.warning("boxes are learned, but no appearance vectors: %s; %s", lack, _IDENTITIES_HINT)

    def build(self) -> keras.Model:
        model = build_detector(self.settings)
        if self.learn == LOOKS:
            for layer in model.layers:
                layer.trainable = layer.name.startswith(LOOKS_PREFIX)
        return model

    def require_piece(self, samples: int) -> None:
        if self.learn == LOOKS and samples < 2:
            raise InvalidInputError(
                f"learn={LOOKS}: expected two or more images in each piece of a batch, since looks are learned by "
                f"comparing the boxes of a piece, got {samples}",
                hint="a piece is batch_size / (workers x accumulate) images: raise the one or lower the others",
            )

    def steps_per_epoch(self, batch_size: int) -> int:
        return max((self.samples or len(self.train)) // batch_size, 1)

    def batches(
        self, batch_size: int, random: np.random.Generator, share: Share
    ) -> Iterator[tuple[npt.NDArray[Any], ...]]:
        chances = self._chances()
        steps = self.steps_per_epoch(batch_size)
        for _ in range(steps):
            seeds = share.of(random.integers(0, 2**63, batch_size))
            samples = [self._sample(np.random.default_rng(seed), chances) for seed in seeds]
            yield self._batch(samples)

    def loss(self, model: keras.Model, batch: tuple[Any, ...], elapsed: Any) -> Any:
        images, boxes, classes, identities = batch
        corners, strides = grid(self.settings.input_height, self.settings.input_width)
        outputs = model(images, training=True)
        if self.learn == LOOKS:
            return identity_loss(pooled_looks(outputs["looks"], boxes), ops.where(classes >= 0, identities, PADDING))
        known = identities if self.settings.embedding else None
        return detection_loss(outputs, boxes, classes, corners, strides, known)

    def validation(self, model: keras.Model, workers: Workers) -> Callable[[], Mapping[str, float]]:
        """Average precision on the validation images, and the loss on some of them.

        `score` is 1 - (AP50 + AP50-95) / 2, averaged over the boxes, not the classes: a class with two boxes to
        find would make it jump. Where looks alone are learned it is the loss of all validation images together.
        """
        if self.learn == LOOKS:
            return self._validation_of_looks(model)
        found = keras_predictor(model)
        corners, strides = grid(self.settings.input_height, self.settings.input_width)

        @tf.function  # type: ignore[untyped-decorator]
        def loss_of(images: Any, boxes: Any, classes: Any) -> Any:
            return detection_loss(model(images, training=False), boxes, classes, corners, strides)

        own = workers.share.span(len(self.val))
        of_loss = self.val.images[:: max(len(self.val) // 32, 1)]

        def validate() -> Mapping[str, float]:
            here = detect(found, LabelledImages(self.val.root, self.val.images[own]), self._size)
            rows = workers.gather(_as_rows(here, first=own.start))
            scores = average_precision(_from_rows(rows, len(self.val)), [image.truth() for image in self.val])
            own_losses = []
            for image in of_loss[workers.share.span(len(of_loss))]:
                sample = fitted(self.val, image, self._size)
                own_losses.append(float(loss_of(*(tf.constant(array) for array in self._batch([sample])[:3]))))
            losses = workers.gather(np.array(own_losses, np.float64)[:, None])
            by_class = {f"{name}_ap50": value.ap50 for name, value in scores.classes.items()}
            counts = self.val.boxes_by_class()
            found_share = sum(counts[name] * (value.ap50 + value.ap50_95) / 2 for name, value in scores.classes.items())
            score = 1 - found_share / sum(counts.values())
            return {
                "score": score,
                "loss": float(np.mean(losses)),
                "map50": scores.map50,
                "map50_95": scores.map50_95,
                **by_class,
            }

        return validate

    def _validation_of_looks(self, model: keras.Model) -> Callable[[], Mapping[str, float]]:
        @tf.function  # type: ignore[untyped-decorator]
        def looks_of(images: Any, boxes: Any) -> Any:
            return pooled_looks(model(images, training=False)["looks"], boxes)

        def validate() -> Mapping[str, float]:
            vectors, known = [], []
            for image in self.val:
                images, boxes, classes, identities = self._batch([fitted(self.val, image, self._size)])
                rows = (classes[0] >= 0) & (identities[0] >= 0)
                vectors.append(looks_of(tf.constant(images), tf.constant(boxes))[0].numpy()[rows])
                known.append(identities[0][rows])
            loss = float(identity_loss(np.concatenate(vectors)[None], np.concatenate(known)[None]))
            return {"score": loss, "loss": loss}

        return validate

    @property
    def _size(self) -> InputSize:
        return self.settings.input_width, self.settings.input_height

    def _chances(self) -> npt.NDArray[np.float64]:
        cameras = [image.camera for image in self.train]
        counts = Counter(cameras)
        chances = np.array(
            [counts[camera] ** (self.balance - 1) * self.weights.get(camera, 1.0) for camera in cameras], np.float64
        )
        return np.asarray(chances / chances.sum())

    def _sample(self, random: np.random.Generator, chances: npt.NDArray[np.float64]) -> Sample:
        def draw() -> Sample:
            index = int(random.choice(len(chances), p=chances))
            if index not in self._opened:
                self._opened[index] = as_sample(self.train, self.train.images[index])
            return self._opened[index]

        return augmented(draw, self.augmentation, self.settings.input_width, self.settings.input_height, random)

    def _batch(self, samples: Sequence[Sample]) -> tuple[npt.NDArray[Any], ...]:
        images = np.stack([sample.pixels for sample in samples])
        boxes = np.zeros((len(samples), self.boxes, 4), np.float32)
        classes = np.full((len(samples), self.boxes), PADDING, np.int32)
        identities = np.full((len(samples), self.boxes), -1, np.int32)
        for row, sample in enumerate(samples):
            areas = (sample.boxes[:, 2:] - sample.boxes[:, :2]).prod(axis=1)
            order = np.argsort(-areas, kind="stable")[: self.boxes]
            boxes[row, : len(order)] = sample.boxes[order]
            classes[row, : len(order)] = sample.tags[order, 0]
            identities[row, : len(order)] = sample.tags[order, 1]
        return images, boxes, classes, identities


def _nothing_to_tell_apart(part: str, labelled: LabelledImages) -> str | None:
    """What is lacking where no object is seen twice, or none beside it."""
    boxes = Counter(
        identity for image in labelled for identity in image.track_ids[~image.ignored].tolist() if identity >= 0
    )
    if len(boxes) > 1 and max(boxes.values()) > 1:
        return None
    return (
        f"expected two or more objects by their identity in the part {part}, one of them in two boxes or more, "
        f"got {len(boxes)} in {boxes.total()} boxes with an identity, of {len(labelled)} images"
    )


def _as_rows(found: Sequence[Detections], first: int) -> Float64Array:
    """(n, 7): number of the image, counted from `first`, box, score and class of everything that was found."""
    images = np.repeat(np.arange(first, first + len(found)), [len(detections) for detections in found])
    columns = (np.concatenate([getattr(d, name) for d in (*found, Detections.empty())]) for name in _COLUMNS)
    return np.column_stack([images, *columns]).astype(np.float64)


def _from_rows(rows: Float64Array, images: int) -> list[Detections]:
    """What `_as_rows` was given for all images, in their order."""
    parts = (rows[rows[:, 0] == image] for image in range(images))
    return [Detections(part[:, 1:5], part[:, 5], part[:, 6]) for part in parts]


def keras_predictor(model: keras.Model) -> Predict:
    """The network as a function of arrays."""
    served = model if "scores" in model.output else serving_model(model)
    traced = tf.function(
        lambda images: served(images, training=False),
        input_signature=[tf.TensorSpec((None, *model.inputs[0].shape[1:]), tf.uint8)],
    )

    def predict(images: UInt8Array) -> Mapping[str, npt.NDArray[Any]]:
        return {name: value.numpy() for name, value in traced(tf.constant(images)).items()}

    return predict
