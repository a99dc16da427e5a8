"""Workers as real processes: what they learn together, and what a SIGKILL changes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.scenes import labelled_scenes

from pathcast.core.trained_model import TrainedModel
from pathcast.detection.coco_json import write_coco

EPOCHS, STEPS_PER_EPOCH, BATCH = 4, 5, 64
DETECTOR_STEPS = 20
KILL_SEED = 20261121

# A family whose worker W, in epoch E, is killed by SIGKILL before it has computed batch B; once.
DYING_FAMILY = """
import os, signal
from dataclasses import dataclass, replace
from pathlib import Path
from {module} import FAMILY as LIVING

WORKER, EPOCH, BATCH, MARK = {worker}, {epoch}, {batch}, Path({mark!r})

@dataclass
class Dying:
    task: object
    epoch: int = 0

    def __getattr__(self, name):
        return getattr(self.task, name)

    def batches(self, batch_size, random, share):
        self.epoch += 1
        for number, batch in enumerate(self.task.batches(batch_size, random, share)):
            if (share.index, self.epoch, number) == (WORKER, EPOCH, BATCH) and share.count > 1 and not MARK.exists():
                MARK.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            yield batch

FAMILY = replace(LIVING, task=lambda folder, settings: Dying(LIVING.task(folder, settings)))
"""

# A detector that keeps its last weights, however well they do after a few steps.
LAST_FAMILY = """
import time
from dataclasses import dataclass, replace
from pathcast.training.detector import FAMILY as DETECTOR

@dataclass
class Last:
    task: object

    def __getattr__(self, name):
        return getattr(self.task, name)

    def validation(self, model, workers):
        return lambda: {"score": -time.time()}

FAMILY = replace(DETECTOR, task=lambda folder, settings: Last(DETECTOR.task(folder, settings)))
"""


def write_walks(path: Path, tracks: int = 90) -> Path:
    """People who turn left, as TrajNet text: frame, id, x, y, 10 frames a step."""
    random = np.random.default_rng(1)
    rows = []
    for track in range(tracks):
        heading = random.uniform(-np.pi, np.pi) + 0.1 * np.arange(24)
        places = (random.uniform(0.3, 0.6) * np.stack([np.cos(heading), np.sin(heading)], axis=1)).cumsum(axis=0)
        rows += [(10 * step, track, x, y) for step, (x, y) in enumerate(places)]
    path.write_text("".join(f"{frame} {track} {x:.4f} {y:.4f}\n" for frame, track, x, y in sorted(rows)))
    return path


def train(folder: Path, family: str, output: str, raw: Path, *options: str) -> tuple[TrainedModel, str]:
    """Train in `folder`/`output`; the first training there prepares the data for the others."""
    prepared = folder / "one" / "data"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pathcast", "train", family, f"--output={folder / output}", "--threads=1"),
            *(f"--data={prepared if prepared.exists() else raw}", f"--state-dir={folder / 'no-platform'}"),
            *options,
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(folder)])},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return TrainedModel.load(folder / output), re.sub(r"\s+", " ", done.stdout)


def largest_difference(first: TrainedModel, second: TrainedModel) -> float:
    return max(float(np.abs(first.weights[name] - second.weights[name]).max()) for name in first.weights)


def write_dying_family(folder: Path, module: str, epochs: int, steps_per_epoch: int) -> int:
    """The family of `module` as `dying_family`, killed at a step by chance; the worker that it happens to."""
    random = np.random.default_rng(KILL_SEED)
    worker, step = int(random.integers(2)), int(random.integers(1, epochs * steps_per_epoch))
    epoch, batch = divmod(step, steps_per_epoch)
    (folder / "dying_family.py").write_text(
        DYING_FAMILY.format(module=module, worker=worker, epoch=epoch + 1, batch=batch, mark=str(folder / "mark"))
    )
    return worker


@pytest.mark.timeout(900)
def test_two_workers_one_of_them_killed_learn_what_one_process_does(tmp_path: Path) -> None:
    worker = write_dying_family(tmp_path, "pathcast.training.forecaster", EPOCHS, STEPS_PER_EPOCH)
    walks = write_walks(tmp_path / "walks.txt")
    options = (f"--epochs={EPOCHS}", f"--batch-size={BATCH}", "--set=checkpoint_steps=2")
    alone, _ = train(tmp_path, "dying_family:FAMILY", "one", walks, *options)
    assert len(alone.record["losses"]) == EPOCHS
    together, said = train(tmp_path, "dying_family:FAMILY", "two", walks, *options, "--workers=2", "--restarts=1")
    assert f"worker {worker} of 2 was killed by SIGKILL; all were stopped" in said
    assert together.record["workers"] == 2
    assert together.record["losses"] == pytest.approx(alone.record["losses"], abs=1e-5)
    assert together.record["val"] == pytest.approx(alone.record["val"], abs=1e-5)
    assert largest_difference(alone, together) <= 1e-5
    assert json.loads((tmp_path / "two" / "model.json").read_text())["family"] == "forecaster"


@pytest.mark.timeout(900)
def test_two_workers_one_of_them_killed_take_the_steps_of_a_detector_that_one_takes_in_two_pieces(
    tmp_path: Path,
) -> None:
    (tmp_path / "last_family.py").write_text(LAST_FAMILY)
    worker = write_dying_family(tmp_path, "last_family", 2, DETECTOR_STEPS // 2)
    (tmp_path / "street").mkdir()
    labels = tmp_path / "street" / "labels.json"
    write_coco(labels, labelled_scenes(labels.parent, frames=40))
    settings = {"width": 0.125, "input_width": 160, "input_height": 128, "samples": 4 * DETECTOR_STEPS}
    settings["checkpoint_steps"] = 2
    options = ("--epochs=2", "--batch-size=8", *(f"--set={name}={value}" for name, value in settings.items()))
    alone, _ = train(tmp_path, "dying_family:FAMILY", "one", labels, *options, "--accumulate=2")
    together, said = train(tmp_path, "dying_family:FAMILY", "two", labels, *options, "--workers=2", "--restarts=1")
    assert f"worker {worker} of 2 was killed by SIGKILL; all were stopped" in said
    assert together.record["workers"] == 2
    assert together.record["losses"] == pytest.approx(alone.record["losses"], abs=1e-5)
    assert largest_difference(alone, together) <= 1e-5
