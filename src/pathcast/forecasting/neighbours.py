"""The others around a walker, as the forecaster sees them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pathcast.core.arrays import Float32Array, Float64Array
from pathcast.core.trajectory import Trajectory

NEIGHBOURS = 8
"""How many of the nearest others a walker is told of."""

NEIGHBOUR_VALUES = 5
"""What is said of each: x, y, the last displacement in x and y, and 1; where there is nobody, all are 0."""


def nearest_others(
    positions: Float64Array, steps: Float64Array, known: npt.NDArray[np.bool_] | None = None
) -> Float64Array:
    """(n, 8, 5): for each of n people that one camera sees at one moment the nearest others, nearest first.

    `positions` (n, 2) and `steps` (n, 2), their last displacements. `known` (n,): who is somebody's neighbour; all
    where not given.

    >>> nearest_others(np.array([[0.0, 0.0], [3.0, 4.0]]), np.array([[0.5, 0.0], [0.0, -0.5]]))[0, :2]
    array([[ 3. ,  4. ,  0. , -0.5,  1. ],
           [ 0. ,  0. ,  0. ,  0. ,  0. ]])
    """
    others = np.zeros((len(positions), NEIGHBOURS, NEIGHBOUR_VALUES))
    told = np.arange(len(positions)) if known is None else np.flatnonzero(known)
    count = min(len(told), NEIGHBOURS)
    if not count:
        return others
    x, y = positions.T
    apart = np.square(x[:, None] - x[told]) + np.square(y[:, None] - y[told])
    apart[told, np.arange(len(told))] = np.inf
    everyone = np.arange(len(positions))[:, None]
    nearest = np.argpartition(apart, count - 1, axis=1)[:, :count]
    nearest = nearest[everyone, apart[everyone, nearest].argsort(axis=1, kind="stable")]
    values = np.concatenate([positions, steps, np.ones((len(positions), 1))], axis=1)[told]
    # Nobody is his own neighbour, also where there are no 8 others.
    others[:, :count] = values[nearest] * np.isfinite(apart[everyone, nearest])[..., None]
    return others


def neighbours_along(trajectories: Sequence[Trajectory], *, backwards: bool = False) -> Float32Array:
    """(N, 8, 5): the nearest others of the same camera at each of the N positions of all trajectories, end to end.

    Only who was seen then, and has a position a step before, is somebody's neighbour. `backwards`: as if time ran
    backwards.
    """
    cameras = {name: number for number, name in enumerate({each.camera_id for each in trajectories})}
    lengths = np.array([len(each) for each in trajectories])
    camera = np.repeat([cameras[each.camera_id] for each in trajectories], lengths)
    moment = np.concatenate([each.first_step + np.arange(len(each)) for each in trajectories])
    positions = np.concatenate([each.positions for each in trajectories])
    known = np.concatenate([each.seen for each in trajectories])
    steps = np.zeros_like(positions)
    ends = lengths.cumsum()
    if backwards:
        steps[:-1] = positions[:-1] - positions[1:]
        known[ends - 1] = False
    else:
        steps[1:] = positions[1:] - positions[:-1]
        known[ends - lengths] = False
    rows = np.lexsort((moment, camera))
    together = np.flatnonzero(np.diff(moment[rows]) | np.diff(camera[rows])) + 1
    others = np.zeros((len(positions), NEIGHBOURS, NEIGHBOUR_VALUES), np.float32)
    for group in np.split(rows, together):
        others[group] = nearest_others(positions[group], steps[group], known[group])
    return others


def moved(neighbours: Float64Array, by: Float64Array) -> Float64Array:
    """(n, 8, 5) `neighbours` of n walkers moved `by` (n, 2) each; nobody stays nobody."""
    place = (neighbours[..., :2] + by[:, None]) * neighbours[..., 4:]
    return np.concatenate([place, neighbours[..., 2:]], axis=-1)


def scaled(neighbours: Float32Array | Float64Array, factors: Float64Array | float) -> Float64Array:
    """(n, 8, 5) `neighbours`, all lengths times `factors`: one for all, or (n, 2) along x and y."""
    along = np.broadcast_to(factors, (len(neighbours), 2))[:, None]
    lengths = [neighbours[..., :2] * along, neighbours[..., 2:4] * along]
    return np.concatenate([*lengths, neighbours[..., 4:]], axis=-1)
