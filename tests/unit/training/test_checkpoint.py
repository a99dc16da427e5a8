from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pathcast.core import InvalidInputError
from pathcast.training.checkpoint import Checkpoint, write_atomically

arrays = st.lists(
    hnp.arrays(st.sampled_from([np.float32, np.int64, np.uint32]), hnp.array_shapes(min_dims=0, max_dims=3)),
    max_size=12,
)


def checkpoint(state: list[np.ndarray], best: list[np.ndarray]) -> Checkpoint:
    return Checkpoint(
        7, 2, 3, np.float32([0.5, 0.25]), state, best, {"reports": [{"loss": 0.1}]}, {"seed": 1, "ema": 0.9}
    )


@given(arrays, arrays)
def test_a_checkpoint_survives_as_bytes(state: list[np.ndarray], best: list[np.ndarray]) -> None:
    again = Checkpoint.from_bytes(checkpoint(state, best).to_bytes(), "here")
    assert (again.step, again.epoch, again.step_of_epoch) == (7, 2, 3)
    assert again.losses.tolist() == [0.5, 0.25]
    assert (again.progress, again.settings) == ({"reports": [{"loss": 0.1}]}, {"seed": 1, "ema": 0.9})
    for before, after in ((state, again.state), (best, again.best)):
        assert [(a.dtype, a.shape, a.tobytes()) for a in before] == [(a.dtype, a.shape, a.tobytes()) for a in after]


def pickled(tmp_path: Path) -> bytes:
    np.savez(tmp_path / "objects.npz", meta=np.array([{"schema": 1}], dtype=object), losses=np.zeros(1))
    return (tmp_path / "objects.npz").read_bytes()


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    whole = checkpoint([np.zeros(3)], []).to_bytes()
    for data in (b"", b"no archive", whole[: len(whole) // 2], pickle.dumps(1), pickled(tmp_path)):
        with pytest.raises(InvalidInputError, match="checkpoint.npz: not a checkpoint"):
            Checkpoint.from_bytes(data, "checkpoint.npz")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seed": 2, "ema": 0.9}, "seed 1, now 2"),
        ({"seed": 1}, "ema 0.9, now None"),
        ({"seed": 1, "ema": 0.9, "epochs": 3}, "epochs None, now 3"),
    ],
)
def test_other_settings_are_named(settings: dict[str, float], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        checkpoint([], []).require_settings(settings, "here")


def test_the_same_settings_are_fine() -> None:
    checkpoint([], []).require_settings({"seed": 1, "ema": 0.9}, "here")


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "folder" / "checkpoint.npz"
    write_atomically(path, b"old")

    def fail(descriptor: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
