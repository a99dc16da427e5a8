"""Recorded intervals through two versions of a model: what a promotion would have changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg

from pathcast.core.camera import Camera
from pathcast.core.errors import InvalidInputError
from pathcast.core.observation import Observation
from pathcast.core.settings import PlatformSettings
from pathcast.registry.gates import replay_gate
from pathcast.registry.publishing import ModelLifecycle, challenger_of
from pathcast.registry.verdicts import NO_CHAMPION, REPLAY, Verdict
from pathcast.serving.frame_analyzer import Detector, Forecaster
from pathcast.serving.local_models import FileDetector, FileForecaster
from pathcast.serving.remote_models import RemoteDetector, RemoteForecaster, require_fit
from pathcast.serving.replay import RecordedDetector, recorded_frames, replay
from pathcast.serving.replay_diff import ReplayDiff, compare, merge
from pathcast.serving.triton_client import TritonClient
from pathcast.storage.archive import FrameArchive
from pathcast.storage.cameras import read_camera
from pathcast.storage.connection import connect, database_errors
from pathcast.storage.observations import read_observations
from pathcast.storage.reads import read_frame_rows
from pathcast.training.family import Family, find_family
from pathcast.training.pipeline_step import step

MOST_CAMERAS = 4
"""A gate replays the busiest cameras alone: it is to end in minutes, on a platform of any size."""


@dataclass(frozen=True, slots=True)
class Interval:
    """What one camera recorded in since ≤ captured_at < until, aware UTC."""

    camera_id: str
    since: datetime
    until: datetime


def recorded_intervals(
    connection: psycopg.Connection, cameras: Sequence[str], length: timedelta, limit: int | None = None
) -> list[Interval]:
    """The last `length` of each camera's recording, of `cameras` (none: all), those with most frames first."""
    with database_errors("find what was recorded"):
        rows = connection.execute(
            "SELECT camera_id, last, (SELECT count(*) FROM observations AS o WHERE (o.camera_id, true) = "
            "(newest.camera_id, o.captured_at > newest.last - %(length)s)) AS frames FROM "
            "(SELECT camera_id, max(captured_at) AS last FROM observations GROUP BY camera_id) AS newest "
            "WHERE %(cameras)s::text[] = '{}' OR camera_id = ANY(%(cameras)s) ORDER BY frames DESC, camera_id",
            {"length": length, "cameras": list(cameras)},
        ).fetchall()
    microsecond = timedelta(microseconds=1)
    return [Interval(camera_id, last - length + microsecond, last + microsecond) for camera_id, last, _ in rows[:limit]]


def replay_version(
    settings: PlatformSettings,
    family: str,
    version: int,
    champion: int,
    intervals: Sequence[Interval],
    *,
    advance: Callable[[int], None] = lambda frames: None,
) -> ReplayDiff | None:
    """What `version` makes of the intervals, beside the champion; None where nothing was recorded in them.

    Versions that Triton serves are asked there, others run in this process. Calls `advance` with the number of frames
    done, those of each side. Raises InvalidInputError for a family that is no part of the analyzer, and for a version
    that the analyzer cannot ask.
    """
    found = find_family(family)
    if found.replay is None:
        raise InvalidInputError(
            f"family {found.name}: its models are no part of the analyzer, so nothing is recorded that they can replay"
        )
    lifecycle = ModelLifecycle(settings)
    for number in (champion, version):
        if misfit := lifecycle.misfit(found.name, number):
            raise InvalidInputError(
                f"model {found.name} version {number}: {misfit}; the analyzer cannot ask it",
                hint="replay two versions that were made for this release",
            )
    with ExitStack() as opened:
        sides = _Sides(settings, found.name, found.replay.part, opened)
        diffs = []
        for interval in intervals:
            before, after = (sides.run(number, interval, advance) for number in (champion, version))
            if before:
                diffs.append(compare(before, after))
    return merge(diffs) if diffs else None


@step
def replay_interval(
    settings: PlatformSettings, family: str, version: int, cameras: Sequence[str], minutes: float
) -> Verdict:
    """The gate: the last `minutes` of the busiest of `cameras` (none: all) through the version and the champion."""
    found, lifecycle = find_family(family), ModelLifecycle(settings)
    champion = lifecycle.champion(found.name)
    verdict = _judge(settings, found, family, version, champion, cameras, minutes)
    if found.replay is not None:
        verdict = replace(verdict, against=champion or NO_CHAMPION)
    lifecycle.record(found.name, version, verdict)
    return verdict


def _judge(
    settings: PlatformSettings,
    found: Family,
    family: str,
    version: int,
    champion: int | None,
    cameras: Sequence[str],
    minutes: float,
) -> Verdict:
    if found.replay is None:
        return Verdict(REPLAY, True, f"nothing recorded: models of the family {found.name} are no part of the analyzer")
    if champion is None:
        return Verdict(REPLAY, True, "no champion to replay beside")
    if misfit := ModelLifecycle(settings).misfit(found.name, champion):
        return Verdict(REPLAY, True, f"the champion is of another release and cannot be replayed: {misfit}")
    with connect(settings.database_url, application_name="replay") as connection:
        intervals = recorded_intervals(connection, cameras, timedelta(minutes=minutes), MOST_CAMERAS)
    diff = replay_version(settings, family, version, champion, intervals)
    if diff is None:
        where = ", ".join(cameras) or "any camera"
        return Verdict(REPLAY, True, f"nothing recorded: expected frames of {where} to replay, got none")
    return replay_gate(found.replay, diff)


class _Sides:
    """The analyzer with any version of `model` as that `part` of it; the rest is what serves."""

    def __init__(self, settings: PlatformSettings, model: str, part: str, opened: ExitStack) -> None:
        self._model, self._part, self._opened = model, part, opened
        self._lifecycle = ModelLifecycle(settings)
        self._archive = FrameArchive.connect(settings)
        self._connection = opened.enter_context(connect(settings.database_url, application_name="replay"))
        self._client = opened.enter_context(
            TritonClient(settings.triton_grpc, shared_memory=settings.triton_shared_memory)
        )
        self._folder = Path(opened.enter_context(TemporaryDirectory()))

    def run(self, version: int, interval: Interval, advance: Callable[[int], None]) -> list[Observation]:
        """What the analyzer makes of the interval with that version; nothing where nothing was recorded."""
        span = (interval.camera_id, interval.since, interval.until)
        camera = read_camera(self._connection, interval.camera_id) or Camera(interval.camera_id)
        if self._part == "detector":
            # One after the other: an hour of frames does not fit into memory.
            frames = map(self._archive.read, read_frame_rows(self._connection, *span))
            return replay(frames, camera, self._detector(version), self._served_forecaster(), advance=advance)
        recorded = read_observations(self._connection, *span)
        detector, forecaster = RecordedDetector(recorded), self._forecaster(version)
        return replay(recorded_frames(recorded), camera, detector, forecaster, advance=advance)

    def _served_forecaster(self) -> Forecaster:
        forecaster = RemoteForecaster(self._client)
        if self._client.ready(forecaster.model):
            require_fit(self._client, "forecaster", forecaster.model)
        return forecaster

    def _forecaster(self, version: int) -> Forecaster:
        served = self._served_as(version)
        return RemoteForecaster(self._client, served) if served else FileForecaster(self._file(version))

    def _detector(self, version: int) -> Detector:
        served = self._served_as(version)
        if served:
            return RemoteDetector(self._client, served)
        detector = FileDetector(self._file(version))
        self._opened.callback(detector.close)
        return detector

    def _served_as(self, version: int) -> str | None:
        for name in (self._model, challenger_of(self._model)):
            if self._client.ready(name, str(version)):
                return name
        return None

    def _file(self, version: int) -> Path:
        path = self._folder / f"{version}.onnx"
        if not path.exists():
            self._lifecycle.fetch(self._model, version, path)
        return path
