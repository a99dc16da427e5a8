from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from pathcast.core import InvalidInputError
from pathcast.detection.grid import grid
from pathcast.detection.looks import PARTS, pooled_looks
from pathcast.detection.model import build_detector, convolution_names, serving_model
from pathcast.detection.settings import SIZES, DetectorSettings
from pathcast.detection.weights import load_yolox, without_normalisation
from pathcast.detection.yolox_import import read_yolox

SMALL = DetectorSettings(0.125, 0.33, depthwise=False, activation="relu", input_width=96, input_height=64)
RANDOM = np.random.default_rng(4)
IMAGES = RANDOM.integers(0, 256, (2, 64, 96, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def fresh() -> keras.Model:
    keras.utils.set_random_seed(3)
    model = build_detector(replace(SMALL, embedding=16))
    # Statistics of a network that has seen images: a fold of fresh ones would prove nothing.
    normalisations = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for layer in normalisations:
        layer.momentum = 0.0
        layer.gamma.assign(RANDOM.uniform(0.5, 1.5, layer.gamma.shape))
        layer.beta.assign(RANDOM.uniform(-0.5, 0.5, layer.beta.shape))
    model(IMAGES, training=True)
    return model


def test_every_cell_has_a_box_and_scores_and_looks_are_a_map(fresh: keras.Model) -> None:
    outputs = fresh(IMAGES, training=False)
    cells = SMALL.cells
    assert cells == len(grid(64, 96)[1]) == 12 * 8 + 6 * 4 + 3 * 2
    shapes = {name: tuple(value.shape) for name, value in outputs.items()}
    assert shapes == {
        "boxes": (2, cells, 4),
        "objectness": (2, cells),
        "classes": (2, cells, 6),
        "looks": (2, 8, 12, PARTS * 16),
    }
    boxes = np.asarray(outputs["boxes"])
    assert (boxes[..., 2:] > boxes[..., :2]).all()


def test_the_served_network_gives_the_best_cells_in_order(fresh: keras.Model) -> None:
    raw = {name: np.asarray(value) for name, value in fresh(IMAGES, training=False).items()}
    served = {name: np.asarray(value) for name, value in serving_model(fresh, 20)(IMAGES, training=False).items()}
    scores = 1 / (1 + np.exp(-raw["objectness"])) / (1 + np.exp(-raw["classes"].max(axis=-1)))
    order = np.argsort(-scores, axis=1, kind="stable")[:, :20]
    np.testing.assert_allclose(served["scores"], np.take_along_axis(scores, order, axis=1), rtol=1e-4)
    np.testing.assert_allclose(served["boxes"], np.take_along_axis(raw["boxes"], order[..., None], axis=1), rtol=1e-4)
    np.testing.assert_allclose(served["embeddings"], pooled_looks(raw["looks"], served["boxes"]), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(served["embeddings"], axis=-1), 1, atol=1e-5)
    expected = np.take_along_axis(raw["classes"].argmax(axis=-1), order, axis=1)
    np.testing.assert_array_equal(served["classes"], expected)


def test_folding_the_normalisation_changes_nothing(fresh: keras.Model) -> None:
    plain = without_normalisation(fresh)
    assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in plain.layers)
    expected, got = fresh(IMAGES, training=False), plain(IMAGES, training=False)
    for name in expected:
        np.testing.assert_allclose(got[name], expected[name], rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize(
    "wrong",
    [{"input_width": 100}, {"activation": "swish"}, {"width": 0.0}, {"embedding": -1}, {"input_height": 0}],
)
def test_settings_that_make_no_network_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidInputError, match="detector: expected"):
        DetectorSettings.from_mapping(wrong)


@pytest.mark.parametrize("settings", [SMALL, replace(SMALL, depthwise=True), replace(SMALL, depth=0.67)])
def test_every_convolution_is_in_the_order_of_yolox(settings: DetectorSettings) -> None:
    model = build_detector(settings)
    layers = [layer.name for layer in model.layers if "Conv2D" in type(layer).__name__]
    names = convolution_names(settings)
    assert sorted(names) == sorted(layers)
    assert len(set(names)) == len(names)


def test_published_weights_of_another_size_are_refused(yolox_path: Path) -> None:
    source = read_yolox(yolox_path)
    with pytest.raises(InvalidInputError, match="expected 83 convolutions, got 113"):
        load_yolox(source.model.graph, replace(SIZES["tiny"], normalised=False))
    with pytest.raises(InvalidInputError, match="stem: expected shapes"):
        load_yolox(source.model.graph, replace(SIZES["nano"], width=0.125, normalised=False))
    with pytest.raises(InvalidInputError, match="without normalisation"):
        load_yolox(source.model.graph, SIZES["nano"])


def test_published_weights_can_gain_a_fresh_branch_for_appearance(yolox_path: Path) -> None:
    source, settings = read_yolox(yolox_path), replace(SIZES["nano"], normalised=False)
    plain, seeing = (load_yolox(source.model.graph, replace(settings, embedding=length)) for length in (0, 16))
    known = {variable.path: np.asarray(variable.value) for variable in plain.weights}
    gained = {variable.path: np.asarray(variable.value) for variable in seeing.weights}
    assert {path.split("_")[0] for path in gained.keys() - known.keys()} == {"emb"}
    assert all(np.array_equal(gained[path], values) for path, values in known.items())
    assert seeing.output["looks"].shape == (None, 52, 52, PARTS * 16)
