"""The analyzer as a service: frames topic in, observations topic out, checkpoints in the database."""

from __future__ import annotations

import math
import time
from contextlib import ExitStack
from typing import Any

from pydantic import PositiveFloat, PositiveInt
from pydantic_settings import BaseSettings, SettingsConfigDict

from pathcast.core.camera import Camera
from pathcast.core.clock import Clock, SystemClock
from pathcast.core.errors import InvalidInputError, ServiceUnavailableError
from pathcast.core.frame import Frame
from pathcast.core.observation import Observation
from pathcast.core.settings import PlatformSettings
from pathcast.messaging.frame_codec import decode_frame
from pathcast.messaging.intake import open_intake
from pathcast.messaging.observation_codec import observation_record
from pathcast.messaging.records import Record
from pathcast.messaging.resume import resume
from pathcast.messaging.service import ServiceSettings
from pathcast.monitoring.metrics import ServiceMetrics
from pathcast.serving.classifiers import open_classifier
from pathcast.serving.detection_classifier import DetectionClassifier
from pathcast.serving.frame_analyzer import FrameAnalyzer, Rejected
from pathcast.serving.remote_models import RemoteDetector, RemoteForecaster, require_fit
from pathcast.serving.triton_client import TritonClient
from pathcast.storage.cameras import read_camera
from pathcast.storage.positions import read_checkpoint, write_checkpoint
from pathcast.tracking.settings import tracker_settings

SERVICE = "analyzer"

_NEW_CONNECTION_AFTER_S = 300.0
"""A Triton that the autoscaler has added gets frames within this time."""


class AnalyzerSettings(BaseSettings):
    """How the analyzer works, from `PATHCAST_ANALYZER_*` variables.

    `batch_frames` bounds how many frames are decoded and detected at once. `checkpoint_s` bounds the work
    repeated after a kill. `max_age_s`, where set, skips the frames of live cameras that are older when
    read; they are counted, never silently lost, and stay in the archive. `tracker` are settings of the tracker that
    are not its defaults, by name, as `settings` in the best.json of `pathcast tune tracker`.
    """

    model_config = SettingsConfigDict(env_prefix="PATHCAST_ANALYZER_", frozen=True, extra="ignore", allow_inf_nan=False)

    detector: str = "detector"
    forecaster: str = "forecaster"
    batch_frames: PositiveInt = 16
    checkpoint_s: PositiveFloat = 2.0
    max_age_s: PositiveFloat | None = None
    tracker: dict[str, Any] = {}


class AnalyzerWorker:
    """Analyses the frames of its partitions in order; a Worker of the service harness.

    Every frame becomes one observation, one dead letter, or one counted skip (stale, or a producer's repeat).
    A checkpoint is written only when the observations before it are acknowledged, so a restart repeats work
    but loses none.
    """

    def __init__(
        self,
        platform: PlatformSettings,
        settings: AnalyzerSettings,
        service: ServiceSettings,
        metrics: ServiceMetrics,
        clock: Clock | None = None,
    ) -> None:
        """Connect to everything and take up at the last checkpoint.

        Raises ServiceUnavailableError where a server is away or the detector is not loaded yet, InvalidInputError
        where a model cannot be asked or the tracker has no such setting.
        """
        self._platform = platform
        self._settings = settings
        self._metrics = metrics
        self._clock = clock or SystemClock()
        metrics.expect_dead_letters(platform.frames_topic)
        with ExitStack() as opening:
            self._connect(service, opening)
            self.close = opening.pop_all().close

    def step(self) -> None:
        with self._metrics.stage("read"):
            records = self._consumer.poll(max_records=self._settings.batch_frames)
        if records:
            self._analyze(records)
        elif self._consumer.caught_up():
            self._metrics.caught_up()
        if self._next_offsets and time.monotonic() - self._saved_at >= self._settings.checkpoint_s:
            self.finish()

    def finish(self) -> None:
        """Write a checkpoint of every partition that moved."""
        with self._metrics.stage("checkpoint"):
            self._producer.flush()
            for partition, next_offset in self._next_offsets.items():
                position = self._consumer.stream_position(SERVICE, partition, next_offset)
                state = self._analyzer.state(self._cameras_of[partition])
                if not write_checkpoint(self._connection, position, state):
                    raise ServiceUnavailableError(
                        f"{position.topic}[{partition}]: another analyzer is ahead of offset {next_offset}",
                        hint="give each instance its own PATHCAST_INSTANCE_INDEX",
                    )
        self._next_offsets.clear()
        self._saved_at = time.monotonic()

    def _connect(self, service: ServiceSettings, opening: ExitStack) -> None:
        platform, settings = self._platform, self._settings
        client = TritonClient(
            platform.triton_grpc,
            shared_memory=platform.triton_shared_memory,
            renew_after_s=math.inf if platform.triton_shared_memory else _NEW_CONNECTION_AFTER_S,
        )
        opening.callback(client.close)
        if not client.ready(settings.detector):
            raise ServiceUnavailableError(
                f"Triton at {platform.triton_grpc}: model {settings.detector} is not loaded",
                hint=f"publish one: pathcast models import FILE.onnx --family {settings.detector}",
            )
        for part, model in (("detector", settings.detector), ("forecaster", settings.forecaster)):
            if client.ready(model):
                # Triton calls a model ready whose process has died; a request tells, and loading it again mends it.
                client.repair(model)
                require_fit(client, part, model)
        intake = opening.enter_context(
            open_intake(platform, platform.frames_topic, SERVICE, service, compression="lz4")
        )
        self._connection, self._consumer = intake.connection, intake.consumer
        self._producer, self._dead_letters = intake.producer, intake.dead_letters
        self._analyzer = FrameAnalyzer(
            RemoteDetector(client, settings.detector),
            RemoteForecaster(client, settings.forecaster),
            self._camera,
            self._metrics.stage,
            tracker_settings(settings.tracker),
            DetectionClassifier(lambda model: open_classifier(client, model)),
        )
        opening.callback(self._analyzer.close)
        self._take_up()

    def _take_up(self) -> None:
        """Restore the last checkpoint of each partition and seek behind it."""
        self._next_offsets: dict[int, int] = {}
        self._cameras_of: dict[int, set[str]] = {partition: set() for partition in self._consumer.partitions}
        self._saved_at = time.monotonic()
        stored = []
        for partition in self._consumer.partitions:
            checkpoint = read_checkpoint(self._connection, SERVICE, self._platform.frames_topic, partition)
            if checkpoint is not None:
                stored.append(checkpoint.position)
                # Also where the topic was made anew: cameras go on, so their identities must.
                self._cameras_of[partition].update(self._analyzer.restore(checkpoint.state))
        resume(self._consumer, self._connection, SERVICE, stored)

    def _analyze(self, records: list[Record]) -> None:
        topic = self._platform.frames_topic
        frames: list[tuple[Record, Frame]] = []
        for record in records:
            try:
                frame = decode_frame(record)
            except InvalidInputError as error:
                self._metrics.dead_lettered(topic)
                self._dead_letters.bury(record, error.message)
                continue
            self._cameras_of[record.partition].add(frame.camera_id)
            self._metrics.frames_in(frame.camera_id)
            if self._is_stale(frame):
                self._metrics.skipped(frame.camera_id)
            else:
                frames.append((record, frame))
        outcomes = self._analyzer.analyze([frame for _, frame in frames])
        with self._metrics.stage("publish"):
            for (record, frame), outcome in zip(frames, outcomes, strict=True):
                if isinstance(outcome, Observation):
                    self._producer.send(self._platform.observations_topic, observation_record(outcome))
                    self._metrics.frames_out(frame.camera_id)
                elif isinstance(outcome, Rejected):
                    self._metrics.dead_lettered(topic, late=outcome.late)
                    self._dead_letters.bury(record, outcome.reason)
                else:
                    self._metrics.skipped(frame.camera_id)
        for record in records:
            self._next_offsets[record.partition] = record.offset + 1
        self._metrics.lag(records[-1].timestamp_ms, self._clock.now().timestamp())

    def _is_stale(self, frame: Frame) -> bool:
        limit = self._settings.max_age_s
        return limit is not None and (self._clock.now() - frame.captured_at).total_seconds() > limit

    def _camera(self, camera_id: str) -> Camera:
        """A camera that nobody has described is uncalibrated."""
        return read_camera(self._connection, camera_id) or Camera(camera_id)
