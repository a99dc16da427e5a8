"""A sixth family, known to the project by its definition alone: a line through points."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pathcast.training.family import Evaluation, Family, Gate
from pathcast.training.settings import TrainingSettings

if TYPE_CHECKING:
    import keras

    from pathcast.training.share import Share
    from pathcast.training.workers import Workers

PARTS = {"train": 256, "val": 64, "test": 64}
SLOPE = np.array([1.0, -2.0, 0.5])


def points(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    x = random.normal(0, 1, (count, 3)).astype(np.float32)
    return x, (x @ SLOPE + random.normal(0, 0.05, count)).astype(np.float32)[:, None]


def _select(_settings: object, folder: Path, wanted: object) -> Mapping[str, Any]:
    x, y = points(sum(PARTS.values()), seed=7)
    np.savez(folder / "points.npz", x=x, y=y)
    return {"samples": len(x)}


def _prepare(source: Path, folder: Path, options: Mapping[str, Any]) -> Mapping[str, Any]:
    with np.load(source / "points.npz") as raw:
        x, y = raw["x"], raw["y"]
    end = 0
    for part, count in PARTS.items():
        np.savez(folder / f"{part}.npz", x=x[end : end + count], y=y[end : end + count])
        end += count
    return {"layout": "points", "samples": dict(PARTS)}


def _read(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    with np.load(folder / f"{part}.npz") as arrays:
        return arrays["x"], arrays["y"]


def _build(_settings: Mapping[str, Any]) -> keras.Model:
    import keras

    x = keras.Input((3,), name="x")
    return keras.Model(x, {"y": keras.layers.Dense(1, name="line")(x)}, name="toy")


class _Line:
    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self._folder, self._settings = folder, settings

    def build(self) -> keras.Model:
        return _build(self._settings)

    def steps_per_epoch(self, batch_size: int) -> int:
        return PARTS["train"] // batch_size

    def batches(self, batch_size: int, random: np.random.Generator, share: Share) -> Iterator[tuple[np.ndarray, ...]]:
        x, y = _read(self._folder, "train")
        order = random.permutation(len(x))
        for start in range(0, len(x), batch_size):
            chosen = share.of(order[start : start + batch_size])
            yield x[chosen], y[chosen]

    def loss(self, model: keras.Model, batch: tuple[Any, ...], elapsed: Any) -> Any:
        import keras

        return keras.ops.mean((model(batch[0], training=True)["y"] - batch[1]) ** 2) * self._settings["loss_scale"]

    def validation(self, model: keras.Model, workers: Workers) -> Callable[[], Mapping[str, float]]:
        x, y = _read(self._folder, "val")
        return lambda: {"score": float(np.abs(np.asarray(model(x, training=False)["y"]) - y).mean())}


def _export(model: keras.Model, folder: Path, target: Path) -> Mapping[str, float]:
    from pathcast.export.onnx import to_onnx
    from pathcast.export.onnx_file import save_onnx
    from pathcast.export.triton_config import render_config

    save_onnx(to_onnx(model, ("y",)), target / "1" / "model.onnx")
    (target / "config.pbtxt").write_text(render_config("toy", target / "1" / "model.onnx"))
    return {"y": 0.0}


def _evaluate(onnx_file: Path, folder: Path) -> Evaluation:
    from pathcast.export.parity import open_session

    x, y = _read(folder, "test")
    errors = np.abs(open_session(onnx_file).run(["y"], {"x": x})[0] - y)[:, 0]
    return Evaluation({"mae": float(errors.mean())}, len(errors), lambda chosen: float(errors[chosen].mean()))


FAMILY = Family(
    name="toy",
    summary="a line through points",
    prepare=_prepare,
    build=_build,
    task=_Line,
    export=_export,
    evaluate=_evaluate,
    examples=lambda _, folder: {"x": _read(folder, "test")[0][:8]},
    gate=Gate(metric="mae", higher_is_better=False, tolerance=0.005, latency_ms=50.0),
    settings={"loss_scale": 1.0},
    training=TrainingSettings(epochs=20, batch_size=32, learning_rate=5e-2, weight_decay=0.0, ema=0.5),
    select=_select,
)
