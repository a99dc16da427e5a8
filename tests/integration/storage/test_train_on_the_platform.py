"""`pathcast train forecaster --data platform`: from stored tracks to a model that knows what it learned from."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from pathcast.cli.main import app
from pathcast.core import InvalidInputError, Observation
from pathcast.core.track import FrameTracks
from pathcast.storage.model_versions import TrainingTracks, training_tracks_of
from pathcast.storage.writers import write_observations
from pathcast.training.train_family import Job

pytestmark = pytest.mark.integration

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
WALKERS = 12
UNTIL = ["--until", "2026-03-02T00:00Z"]


@pytest.fixture
def cameras(postgres: Any, camera_id: str, observe: Callable[..., Observation], tmp_path: Path) -> list[str]:
    """Two cameras that each saw people walk in circles for 12 s, of a platform whose MLflow does not run."""
    names = [camera_id, f"{camera_id}-b"]
    angle = np.linspace(0, 2 * np.pi, WALKERS)[:, None]
    ids = np.arange(WALKERS)
    for name in names:
        observations = []
        for sequence in range(84):
            turn = angle + 0.02 * sequence
            seen = FrameTracks(ids, np.zeros((WALKERS, 4)), np.ones(WALKERS), np.zeros(WALKERS), np.full(WALKERS, -1))
            circle = 5 * np.hstack([np.cos(turn), np.sin(turn)])
            observations.append(replace(observe(sequence, objects=0), camera_id=name, tracks=seen, positions=circle))
        with postgres.connect() as connection:
            write_observations(connection, observations)
    addresses = dict.fromkeys(("KAFKA_BOOTSTRAP", "S3_ENDPOINT", "S3_ACCESS_KEY", "S3_SECRET_KEY", "TRITON_GRPC"), "-")
    addresses |= {"DATABASE_URL": postgres.url.get_secret_value(), "MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    lines = [f"PATHCAST_{name}={value}\n" for name, value in addresses.items()]
    (tmp_path / "platform.env").write_text("".join(lines))
    return names


def train(tmp_path: Path, *arguments: str) -> Any:
    places = ["--state-dir", str(tmp_path), "--output", str(tmp_path / "model"), "--threads", "1"]
    return CliRunner().invoke(app, ["train", "forecaster", *places, *arguments], catch_exceptions=False)


class _TrainingBeginsError(Exception):
    """Everything is at hand; training itself takes half a minute and is tested elsewhere."""


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[Job]:
    """The trainings that were begun."""
    jobs: list[Job] = []

    def begin(job: Job, **_: Any) -> None:
        jobs.append(job)
        raise _TrainingBeginsError

    monkeypatch.setattr("pathcast.training.train_family.train_family", begin)
    return jobs


def test_a_model_learns_from_the_chosen_cameras_and_says_so(
    cameras: list[str], tmp_path: Path, begun: list[Job]
) -> None:
    asked = ["--data", "platform", "--cameras", ",".join(cameras), "--days", "1.5", *UNTIL]
    asked += ["--option", "max_standing_share=0.5", "--option", "class_ids=[0]"]
    with pytest.raises(_TrainingBeginsError):
        train(tmp_path, *asked)
    card = begun[0].data.card
    assert (card["layout"], card["tracks"], card["units"]) == ("platform", 2 * WALKERS, "m")
    assert sum(card["samples"].values()) == card["windows"] > 0
    selection = {name: card["selection"][name] for name in ("cameras", "days", "max_standing_share", "class_ids")}
    assert selection == {"cameras": cameras, "days": 1.5, "max_standing_share": 0.5, "class_ids": [0]}
    span = (datetime(2026, 2, 28, 12, tzinfo=UTC), datetime(2026, 3, 2, tzinfo=UTC))
    assert training_tracks_of(card) == tuple(TrainingTracks(name, *span, WALKERS) for name in cameras)
    assert json.loads((tmp_path / "model" / "tracks" / "tracks.json").read_text())["tracks"] == 2 * WALKERS
    # What is resumed goes on with what it began with, whatever the platform has seen since.
    with pytest.raises(_TrainingBeginsError):
        train(tmp_path, "--data", "platform", "--cameras", "nowhere", "--resume")
    assert begun[1].data.version == begun[0].data.version


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--cameras", "nowhere", "--days", "1"], "expected tracks of nowhere"),
        (["--days", "1", "--since", "2026-03-01T00:00Z"], "--days, --since: give one of the two"),
        (["--since", "yesterday"], "--since yesterday: expected ISO 8601"),
        (["--since", "2026-03-01T00:00"], "expected a time with its zone"),
        (["--option", 'class_ids=["person"]'], "class_ids=.*expected whole numbers"),
        (["--days", "0"], "days: expected a number above 0"),
    ],
)
def test_choices_that_give_nothing(cameras: list[str], tmp_path: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        train(tmp_path, "--data", "platform", *arguments, *UNTIL)
    with pytest.raises(InvalidInputError, match="--days: only with --data platform"):
        train(tmp_path, "--data", str(tmp_path), "--days", "3")
