"""The others around a walker, as the forecaster sees them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pathcast.core.arrays import Float64Array
from pathcast.core.trajectory import Trajectory

NEIGHBOURS = 8
"""How many of the nearest others a walker is told of."""

NEIGHBOUR_VALUES = 5
"""What is said of each: x, y, the last displacement in x and y, and 1; where there is nobody, all are 0."""


def nearest_others(positions: Float64Array, steps: Float64Array) -> Float64Array:
    """(n, 8, 5): for each of n people that one camera sees at one moment the nearest others, nearest first.

    `positions` (n, 2) and `steps` (n, 2), their last displacements.

    >>> nearest_others(np.array([[0.0, 0.0], [3.0, 4.0]]), np.array([[0.5, 0.0], [0.0, -0.5]]))[0, :2]
    array([[ 3. ,  4. ,  0. , -0.5,  1. ],
           [ 0. ,  0. ,  0. ,  0. ,  0. ]])
    """
    others = np.zeros((len(positions), NEIGHBOURS, NEIGHBOUR_VALUES))
    count = min(len(positions) - 1, NEIGHBOURS)
    if count < 1:
        return others
    x, y = positions.T
    apart = np.square(x[:, None] - x) + np.square(y[:, None] - y)
    np.fill_diagonal(apart, np.inf)
    nearest = np.argpartition(apart, count - 1, axis=1)[:, :count]
    order = np.take_along_axis(apart, nearest, axis=1).argsort(axis=1, kind="stable")
    told = np.concatenate([positions, steps, np.ones((len(positions), 1))], axis=1)
    others[:, :count] = told[np.take_along_axis(nearest, order, axis=1)]
    return others


def neighbours_along(trajectories: Sequence[Trajectory], *, backwards: bool = False) -> list[Float64Array]:
    """For each trajectory of n steps (n, 8, 5): the nearest others of its camera at each step, nobody at the first.

    Only who was seen a step before as well is somebody's neighbour. `backwards`: as if time ran backwards.
    """
    if not trajectories:
        return []
    cameras = {name: number for number, name in enumerate({each.camera_id for each in trajectories})}
    lengths = np.array([len(each) for each in trajectories])
    camera = np.repeat([cameras[each.camera_id] for each in trajectories], lengths)
    moment = np.concatenate([each.first_step + np.arange(len(each)) for each in trajectories])
    positions = np.concatenate([each.positions for each in trajectories])
    steps = np.zeros_like(positions)
    ends = lengths.cumsum()
    if backwards:
        steps[:-1] = positions[:-1] - positions[1:]
        alone = ends - 1
    else:
        steps[1:] = positions[1:] - positions[:-1]
        alone = ends - lengths
    rows = np.delete(np.arange(len(positions)), alone)
    rows = rows[np.lexsort((moment[rows], camera[rows]))]
    together = np.flatnonzero(np.diff(moment[rows]) | np.diff(camera[rows])) + 1
    others = np.zeros((len(positions), NEIGHBOURS, NEIGHBOUR_VALUES))
    for group in np.split(rows, together):
        others[group] = nearest_others(positions[group], steps[group])
    return np.split(others, ends[:-1])


def moved(neighbours: Float64Array, by: Float64Array) -> Float64Array:
    """(n, 8, 5) `neighbours` of n walkers moved `by` (n, 2) each; nobody stays nobody."""
    place = (neighbours[..., :2] + by[:, None]) * neighbours[..., 4:]
    return np.concatenate([place, neighbours[..., 2:]], axis=-1)


def scaled(neighbours: Float64Array, factors: Float64Array | float) -> Float64Array:
    """(n, 8, 5) `neighbours`, all lengths times `factors`: one for all, or (n, 2) along x and y."""
    along = np.broadcast_to(factors, (len(neighbours), 2))[:, None]
    lengths = [neighbours[..., :2] * along, neighbours[..., 2:4] * along]
    return np.concatenate([*lengths, neighbours[..., 4:]], axis=-1)
