"""The demo, from an empty folder to a report."""

from __future__ import annotations

import signal
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import psycopg
from psycopg.types.range import TimestamptzRange
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from pathcast.core.camera import Camera, read_camera_file
from pathcast.core.clock import Clock
from pathcast.core.errors import InvalidInputError, ServiceUnavailableError
from pathcast.core.observation import Observation
from pathcast.core.settings import PlatformSettings
from pathcast.core.video import decode
from pathcast.local.demo.clip import CLIP_NAME, find_clip
from pathcast.local.demo.drawing import write_video
from pathcast.local.demo.measure import count_rows, mean_errors, score_against_ground_truth
from pathcast.local.demo.report import write_report
from pathcast.local.demo.result import DemoResult
from pathcast.local.interrupts import interrupts_held
from pathcast.local.platform import Platform
from pathcast.messaging.frame_producer import CameraStream, FrameProducer
from pathcast.messaging.record_producer import RecordProducer
from pathcast.messaging.sources import VideoFile
from pathcast.monitoring.metrics import read_stage_latencies
from pathcast.registry.detector import import_detector
from pathcast.registry.shipped import publish_shipped
from pathcast.storage.cameras import upsert_camera
from pathcast.storage.connection import connect, database_errors
from pathcast.storage.observations import read_observations
from pathcast.storage.reads import read_scores, read_trajectories
from pathcast.storage.training_tracks import TrackSelection
from pathcast.tracking.mot_format import TRUTH_FILE
from pathcast.training.backend import use_tensorflow

if TYPE_CHECKING:
    from pathcast.local.demo.training import TrainedOnSite
    from pathcast.training.loop import EpochReport

FORECASTER = "forecaster"

TRAINING_SHARE = 0.6
"""How much of the clip is streamed before the forecaster is trained."""

STALL_LIMIT_S = 120.0
_SHOWN_STAGES = ("decode", "detect", "track", "forecast", "publish", "checkpoint")


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What to stream and where to keep things; None means the demo's own choice."""

    state_dir: Path
    data_dir: Path
    video: Path | None = None
    camera_file: Path | None = None
    detector: Path | None = None
    keep_running: bool = False


def run_demo(options: DemoOptions, console: Console, clock: Clock) -> DemoResult:
    """Run everything, print nothing but progress, and leave the report in `state_dir`/demo.

    The platform is stopped at the end, also after an error or Ctrl-C, unless it ran before or
    `keep_running` is set.
    """
    return _Demo(options, console, clock).run()


class _Demo:
    def __init__(self, options: DemoOptions, console: Console, clock: Clock) -> None:
        self._options = options
        self._console = console
        self._clock = clock
        self._folder = options.state_dir / "demo"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._phases: dict[str, float] = {}
        self._interrupted = threading.Event()
        self._detector_file = self._choose_detector()
        self._clip = find_clip(options.video, options.data_dir, options.state_dir / "downloads", console.print)
        self._camera = self._choose_camera()
        self._source = VideoFile(self._clip, fps=self._camera.frames_per_second)
        self._frames = self._source.expected
        self._fps = self._source.fps

    def run(self) -> DemoResult:
        started = time.monotonic()
        platform = Platform(self._options.state_dir)
        ran_before = any(part.state == "ready" for part in platform.status())
        before = {number: signal.signal(number, self._interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            with self._phase("start the platform") as say:
                platform.up(servers_only=True, on_progress=lambda name, what: say(f"{name}: {what}"))
            settings = platform.settings()
            with self._phase("publish the detector"):
                if self._detector_file is None:
                    detector = publish_shipped(settings, "detector")
                else:
                    detector = import_detector(settings, self._detector_file, frames=self._clip)
            with self._phase("start the services") as say:
                platform.up(on_progress=lambda name, what: say(f"{name}: {what}"))
            with connect(settings.database_url, application_name="demo") as connection:
                result = self._stream_and_measure(platform, settings, connection, str(detector.version), started)
        finally:
            if not (ran_before or self._options.keep_running):
                self._interrupted.clear()
                with interrupts_held(), self._phase("stop the platform"):
                    platform.down()
            for number, handler in before.items():
                signal.signal(number, handler)
        return result

    def _stream_and_measure(
        self,
        platform: Platform,
        settings: PlatformSettings,
        connection: psycopg.Connection,
        detector_version: str,
        started: float,
    ) -> DemoResult:
        plane = self._camera.ground_plane
        upsert_camera(connection, self._camera.camera_id, None if plane is None else plane.as_mapping())
        since = self._start_time(connection)
        until = since + timedelta(seconds=(self._frames + 1) / self._fps)
        split = round(self._frames * TRAINING_SHARE)
        self._stream(settings, connection, since, 0, split)
        trained = self._train(settings, connection, since, since + timedelta(seconds=split / self._fps))
        self._stream(settings, connection, since, split, self._frames - split)
        stage_ms = _stage_latencies(platform)
        observations = read_observations(connection, self._camera.camera_id, since, until)
        video = self._folder / "annotated.mp4"
        with self._phase("draw the video"):
            stills = write_video(video, zip(decode(self._clip), observations, strict=False), self._camera, self._fps)
        with self._phase("measure and report"):
            models = {"detector": detector_version, FORECASTER: str(trained.version)}
            result = self._measure(connection, since, until, observations, trained, models, stage_ms, started)
            trajectories = read_trajectories(connection, self._camera.camera_id, since, until)
            made = [forecast for each in observations for forecast in each.forecasts if forecast.model == FORECASTER]
            write_report(self._folder, result, made, trajectories, stills, video)
        return result

    def _stream(
        self, settings: PlatformSettings, connection: psycopg.Connection, since: datetime, first: int, count: int
    ) -> None:
        """Send frames [first, first + count) and wait until all of them are archived and recorded."""
        columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        name = f"stream frames {first} to {first + count - 1}"
        source = VideoFile(self._clip, fps=self._fps, first_frame=first, frame_count=count)
        stream = CameraStream(self._camera.camera_id, source, start_at=since, pace=None)
        begin = since + timedelta(seconds=(first - 0.5) / self._fps)
        end = since + timedelta(seconds=(first + count - 0.5) / self._fps)
        with self._phase(name), Progress(*columns, console=self._console, transient=True) as progress:
            sent, archived, recorded = (
                progress.add_task(task, total=count) for task in ("frames sent", "frames archived", "frames analysed")
            )
            with RecordProducer(settings.kafka_bootstrap, client_id="pathcast-demo") as producer:
                FrameProducer(producer, topic=settings.frames_topic, stop=self._interrupted).stream_all(
                    [stream], lambda _: progress.advance(sent)
                )
            best, moved_at = 0, time.monotonic()
            while True:
                self._check_interrupt()
                counts = _progress(connection, self._camera.camera_id, begin, end)
                progress.update(archived, completed=counts[0])
                progress.update(recorded, completed=counts[1])
                if min(counts) >= count:
                    return
                if sum(counts) > best:
                    best, moved_at = sum(counts), time.monotonic()
                elif time.monotonic() - moved_at > STALL_LIMIT_S:
                    raise ServiceUnavailableError(
                        f"{name}: nothing moved for {STALL_LIMIT_S:.0f} s; {counts[0]} archived, {counts[1]} analysed",
                        hint="see `pathcast status` and the logs of archiver, analyzer and recorder",
                    )
                self._clock.sleep(0.2)

    def _train(
        self, settings: PlatformSettings, connection: psycopg.Connection, since: datetime, until: datetime
    ) -> TrainedOnSite:
        columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with (
            self._phase("train, export and serve the forecaster"),
            Progress(*columns, console=self._console, transient=True) as bar,
        ):
            task = bar.add_task("epochs", total=None)

            def on_epoch(report: EpochReport) -> None:
                bar.update(task, total=report.epochs, completed=report.epoch, description=f"loss {report.loss:.3f}")

            use_tensorflow()
            from pathcast.local.demo.training import train_and_serve

            selection = TrackSelection(since, until, (self._camera.camera_id,))
            return train_and_serve(connection, selection, settings, on_epoch)

    def _measure(
        self,
        connection: psycopg.Connection,
        since: datetime,
        until: datetime,
        observations: list[Observation],
        trained: TrainedOnSite,
        models: dict[str, str],
        stage_ms: dict[str, dict[str, float]],
        started: float,
    ) -> DemoResult:
        camera_id = self._camera.camera_id
        counts = count_rows(connection, camera_id, since, until)
        scores = read_scores(connection, camera_id, since, until)
        errors = mean_errors(scores, FORECASTER, models[FORECASTER])
        truth_file = self._clip.parent / "mot15" / TRUTH_FILE
        has_truth = self._clip.name == CLIP_NAME and truth_file.is_file() and len(observations) == self._frames
        truth = score_against_ground_truth(truth_file, observations) if has_truth else None
        scored = sum(score.status == "scored" for score in scores)
        streaming_s = sum(seconds for name, seconds in self._phases.items() if name.startswith("stream"))
        return DemoResult(
            video=self._clip.name,
            camera_id=camera_id,
            units=self._camera.units,
            duration_s=time.monotonic() - started,
            phases_s=dict(self._phases),
            frames_expected=self._frames,
            frames_stored=counts.rows["frames"],
            frames_analysed=counts.rows["observations"],
            duplicate_rows=counts.duplicates,
            sequence_gaps=counts.gaps,
            detections=counts.rows["detections"],
            tracks=len({track for each in observations for track in each.tracks.track_ids.tolist()}),
            fps=self._frames / streaming_s,
            stage_ms=stage_ms,
            person_ap50=None if truth is None else truth.person_ap50,
            hota=None if truth is None else truth.tracking.hota,
            mota=None if truth is None else truth.tracking.mota,
            idf1=None if truth is None else truth.tracking.idf1,
            forecasts=counts.rows["forecasts"],
            forecasts_scored=scored,
            forecasts_track_ended=len(scores) - scored,
            forecasts_open=counts.rows["forecasts"] - len(scores),
            ade=None if errors is None else errors.ade,
            fde=None if errors is None else errors.fde,
            best_ade=None if errors is None else errors.best_ade,
            best_fde=None if errors is None else errors.best_fde,
            constant_velocity_ade=None if errors is None else errors.constant_velocity_ade,
            constant_velocity_fde=None if errors is None else errors.constant_velocity_fde,
            compared_forecasts=0 if errors is None else errors.count,
            parity_max_error=trained.parity_max_error,
            models=models,
        )

    def _start_time(self, connection: psycopg.Connection) -> datetime:
        """The clip's first moment: as if it had just been recorded, but after all that this camera sent before."""
        length = timedelta(seconds=self._frames / self._fps)
        with database_errors("read the camera's newest frame"):
            row = connection.execute(
                "SELECT max(captured_at) FROM observations WHERE camera_id = %s", (self._camera.camera_id,)
            ).fetchone()
        start = self._clock.now().replace(microsecond=0) - length
        newest = row[0] if row is not None else None
        return start if newest is None else max(start, newest + timedelta(seconds=10))

    def _choose_camera(self) -> Camera:
        """The demo's calibrated camera for the demo's clip; any other video comes uncalibrated by default."""
        if self._options.camera_file is not None:
            return read_camera_file(self._options.camera_file)
        if self._clip.name == CLIP_NAME:
            return read_camera_file(Path(__file__).parent / "camera.toml")
        return Camera("demo")

    def _choose_detector(self) -> Path | None:
        """A YOLOX file to import: the one asked for, or that of the data folder; None for the shipped detector."""
        asked = self._options.detector
        if asked is not None:
            if not asked.is_file():
                raise InvalidInputError(f"detector {asked}: no such file", hint="check the path")
            return asked
        path = self._options.data_dir / "models" / "yolox_nano.onnx"
        return path if path.is_file() else None

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        """Remember Ctrl-C or SIGTERM as well as raise it: the Kafka client's event loop swallows what hits it there."""
        self._interrupted.set()
        raise KeyboardInterrupt

    def _check_interrupt(self) -> None:
        if self._interrupted.is_set():
            raise KeyboardInterrupt

    @contextmanager
    def _phase(self, name: str) -> Iterator[Callable[[str], None]]:
        """Time a phase and show it; the block may say what it is at."""
        self._check_interrupt()
        began = time.monotonic()
        with self._console.status(f"{name} …") as status:
            # A progress bar inside the phase needs the screen for itself.
            if name.startswith(("stream", "train")):
                status.stop()
                self._console.print(f"{name} …")
            yield lambda detail: status.update(f"{name} … {detail}")
        seconds = time.monotonic() - began
        self._phases[name] = seconds
        self._console.print(f"[green]✓[/] {name} [dim]{seconds:.1f} s[/]", highlight=False)


def _progress(connection: psycopg.Connection, camera_id: str, since: datetime, until: datetime) -> tuple[int, int]:
    """Frames archived and frames observed in [since, until)."""
    with database_errors("count the frames so far"):
        row = connection.execute(
            "SELECT (SELECT count(*) FROM frames AS f WHERE (f.camera_id, true) = (%(id)s, f.captured_at <@ %(span)s)),"
            " (SELECT count(*) FROM observations AS o WHERE (o.camera_id, true) = (%(id)s, o.captured_at <@ %(span)s))",
            {"id": camera_id, "span": TimestamptzRange(since, until)},
        ).fetchone()
    return (0, 0) if row is None else (int(row[0]), int(row[1]))


def _stage_latencies(platform: Platform) -> dict[str, dict[str, float]]:
    """What the analyzer reports on its metrics page."""
    (address,) = (part.address for part in platform.status() if part.name == "analyzer")
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:  # noqa: S310 - loopback
        latencies = read_stage_latencies(answer.read().decode())
    return {
        stage: {"p50": latencies[stage].p50_ms, "p99": latencies[stage].p99_ms}
        for stage in _SHOWN_STAGES
        if stage in latencies
    }
