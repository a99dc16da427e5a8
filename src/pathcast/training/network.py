"""Weights into and out of a network, by the paths of its variables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from pathcast.core.errors import InvalidInputError


def read_weights(model: keras.Model) -> dict[str, npt.NDArray[Any]]:
    """Variable path → a copy of its values, moving statistics included.

    Raises InvalidInputError where two variables share a path.
    """
    weights = {variable.path: np.array(keras.ops.convert_to_numpy(variable.value)) for variable in model.weights}
    if len(weights) != len(model.weights):
        raise InvalidInputError(
            f"network {model.name}: expected {len(model.weights)} variables of different paths, got {len(weights)}",
            hint="give its layers names",
        )
    return weights


def assign_weights(model: keras.Model, weights: Mapping[str, npt.NDArray[Any]]) -> None:
    """Give the network these weights; InvalidInputError names one that does not fit."""
    expected = {variable.path: tuple(variable.shape) for variable in model.weights}
    got = {name: array.shape for name, array in weights.items()}
    if expected != got:
        name = min(name for name, _ in set(expected.items()) ^ set(got.items()))
        raise InvalidInputError(
            f"weights of {model.name}: {name}: expected shape {expected.get(name)}, got {got.get(name)}",
            hint="the weights were made by a network of other settings, or one whose layers have no names",
        )
    for variable in model.weights:
        variable.assign(weights[variable.path])


def answers(model: keras.Model, inputs: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    """What the network makes of inputs by name, by the names of its outputs."""
    given = keras.tree.pack_sequence_as(model.input, [inputs[each.name] for each in model.inputs])
    return {name: np.asarray(values) for name, values in model(given, training=False).items()}
