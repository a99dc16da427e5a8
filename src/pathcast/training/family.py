"""A model family: the small definition by which it plugs into the lifecycle.

Training, export, gates, serving and pipelines know a family by this alone. A package outside the project adds
one under the entry-point group `pathcast.families`; `package.module:NAME` works as a family's name as well.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from pathcast.core.arrays import frozen_array
from pathcast.core.errors import InvalidInputError
from pathcast.monitoring.definition import Monitoring
from pathcast.training.search_space import TRAINING, Space
from pathcast.training.settings import TrainingSettings

if TYPE_CHECKING:
    import keras

    from pathcast.core.settings import PlatformSettings
    from pathcast.core.trained_model import TrainedModel
    from pathcast.training.loop import Task

GROUP = "pathcast.families"
BUILT_IN: Mapping[str, str] = {
    "actions": "pathcast.training.actions:FAMILY",
    "detector": "pathcast.training.detector:FAMILY",
    "forecaster": "pathcast.training.forecaster:FAMILY",
    "signs": "pathcast.training.signs:FAMILY",
}
"""Names of the project's own families, and where their definitions are."""

IntArray = npt.NDArray[np.int64]
Arrays = Mapping[str, npt.NDArray[Any]]
"""A served model's inputs or outputs by name."""


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """How a served file did on held-out samples.

    `metric_of` gives the gate's metric of a choice of samples (indices, repeats allowed), so that two models
    scored on the same samples can be compared by a paired bootstrap. `metric` is its key in `metrics` where the data
    decide which it is; "": the one that the family's gate names. `groups` (samples,) int64: samples that resemble each
    other, such as the windows of one track, share a number; each is a group of its own where none are given.
    """

    metrics: Mapping[str, float]
    samples: int
    metric_of: Callable[[IntArray], float]
    metric: str
    groups: IntArray

    def __init__(
        self,
        metrics: Mapping[str, float],
        samples: int,
        metric_of: Callable[[IntArray], float],
        metric: str = "",
        groups: npt.ArrayLike | None = None,
    ) -> None:
        object.__setattr__(self, "metrics", metrics)
        object.__setattr__(self, "samples", samples)
        object.__setattr__(self, "metric_of", metric_of)
        object.__setattr__(self, "metric", metric)
        numbers = np.arange(samples) if groups is None else groups
        object.__setattr__(self, "groups", frozen_array("groups", numbers, np.int64, (samples,)))


@dataclass(frozen=True, slots=True)
class Gate:
    """What a challenger must show before it may replace the champion.

    `metric` is a key of `Evaluation.metrics`; a challenger may be worse than the champion by `tolerance` at the
    most, with the confidence of the bootstrap. `latency_ms` is the budget of one request of `batch` samples on one
    core.
    """

    metric: str
    higher_is_better: bool
    tolerance: float
    latency_ms: float
    batch: int = 1


@dataclass(frozen=True, slots=True)
class ReplayGate:
    """What a challenger may not make worse when recordings of the platform run through it instead of the champion.

    `part` of the analyzer is what the family's models are; a forecaster is replayed on stored detections, a detector
    on archived frames. Of the champion's detections at least the share `least_kept` must be found again; the ADE of
    the forecasts that both make may not be worse by more than the share `tolerance` of it, with the confidence of a
    bootstrap over tracks.
    """

    part: Literal["detector", "forecaster"]
    tolerance: float
    least_kept: float = 0.0


@dataclass(frozen=True, slots=True)
class Selection:
    """What to learn from of a platform's data: cameras (none: all), the last days, and the family's own options."""

    cameras: tuple[str, ...]
    days: float
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """All that the lifecycle knows of a family. Folders are the family's own business inside.

    - `prepare(source, folder, options)` reads raw data and writes `folder` with its training, validation and
      held-out parts; it returns the data card (counts, spans, drops and why) and raises InvalidInputError naming
      file, row and expectation. `samples` in the card counts those of `train`, `val` and `test`.
    - `build(settings)` is the network with fresh weights, inputs and outputs named as served.
    - `task(folder, settings)` is the training job on a prepared folder.
    - `fitted_settings(folder, settings)` are the settings with what follows from the prepared data, such as its
      classes, some of the training's among them where these follow too and nobody has set them; asked before a training
      from random weights. None where nothing does.
    - `export(model, folder, target)` writes `target`/config.pbtxt and `target`/1/model.onnx after parity with the
      network on real samples of the prepared `folder`; GateFailedError where it differs. A network that is served as
      several models has its parts beside (`pathcast.export.ensemble`).
    - `evaluate(onnx_file, folder)` scores a served file on the held-out part.
    - `sampling` names those of the `settings` that shape no weights; they may change from one training to the next.
    - `record` is what else the record of a training should hold of how it was done, as JSON.
    - `search` is where tuning looks, by the names of settings of the family or of the training.
    - `examples(onnx_file, folder)` are a few real inputs of a served file by name, for the signature, warm-up and
      smoke tests.
    - `in_order_of(expected, got)` is `got` with rows of equal rank as in `expected`, for answers whose order is
      partly rounding; None where the order is given.
    - `illustrate(model, folder, target)` draws what a trained network does on the validation part into `target`.
    - `select(settings, folder, wanted)` writes what a platform has stored as raw data into `folder`, for `prepare`,
      and returns its card with the number of `samples`; None where the family learns from files alone: then, as for
      any family where it is wanted, the selection's option `source` names them.
    - `shipped()` are weights that come with the package; a training that starts from weights takes the settings
      `fine_tuning` on top of `training`.
    - `weights_of(onnx_file)` are the weights that a served file holds, for a champion that was not trained here;
      InvalidInputError where it holds none of this family. None where they cannot be read back.
    - `monitoring` says what bad performance is: which stored signals are watched, and from when on they alarm.
    - `replay` is the gate of recorded intervals; None where the family's models are no part of the analyzer, so that
      nothing that the platform records is for them.
    """

    name: str
    summary: str
    prepare: Callable[[Path, Path, Mapping[str, Any]], Mapping[str, Any]]
    build: Callable[[Mapping[str, Any]], keras.Model]
    task: Callable[[Path, Mapping[str, Any]], Task]
    export: Callable[[keras.Model, Path, Path], Mapping[str, float]]
    evaluate: Callable[[Path, Path], Evaluation]
    examples: Callable[[Path, Path], Arrays]
    gate: Gate
    settings: Mapping[str, Any] = field(default_factory=dict)
    sampling: Collection[str] = ()
    fitted_settings: Callable[[Path, Mapping[str, Any]], Mapping[str, Any]] | None = None
    training: TrainingSettings = field(default_factory=TrainingSettings)
    record: Mapping[str, Any] = field(default_factory=dict)
    search: Space = field(default_factory=lambda: dict(TRAINING))
    in_order_of: Callable[[Arrays, Arrays], Arrays] | None = None
    illustrate: Callable[[keras.Model, Path, Path], None] | None = None
    select: Callable[[PlatformSettings, Path, Selection], Mapping[str, Any]] | None = None
    shipped: Callable[[], TrainedModel] | None = None
    weights_of: Callable[[Path], TrainedModel] | None = None
    fine_tuning: Mapping[str, Any] = field(default_factory=dict)
    monitoring: Monitoring = Monitoring()
    replay: ReplayGate | None = None


def known_families() -> Mapping[str, str]:
    """Name of each family that can be found, and where it is; nothing is imported."""
    return {**{entry.name: entry.value for entry in entry_points(group=GROUP)}, **BUILT_IN}


def find_place(name: str) -> str:
    """The place of that family, `package.module:NAME`; InvalidInputError, listing the known ones, if it has none."""
    known = known_families()
    if ":" not in name and name not in known:
        raise InvalidInputError(f"family {name!r}: expected one of {', '.join(sorted(known))}")
    return known.get(name, name)


def find_family(name: str) -> Family:
    """The family of that name; raises InvalidInputError, listing the known ones, where there is none."""
    place = find_place(name)
    module, _, attribute = place.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise InvalidInputError(f"family {name!r}: {place} cannot be imported: {error}") from error
    if not isinstance(found, Family):
        raise InvalidInputError(f"family {name!r}: expected a Family at {place}, got {type(found).__name__}")
    return found
