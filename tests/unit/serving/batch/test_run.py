from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Barrier, Event

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from pathcast.core import Detections
from pathcast.core.arrays import Float32Array, UInt8Array
from pathcast.core.errors import InvalidInputError, PathcastError
from pathcast.core.observation import Observation
from pathcast.serving.batch import run as batch
from pathcast.serving.batch.run import BatchSettings, run_batch
from pathcast.serving.batch.segments import BatchFolder, SegmentWriter
from pathcast.serving.batch.videos import Video, open_video
from pathcast.serving.local_models import ConstantVelocity
from pathcast.serving.remote_models import ForecastBatch
from pathcast.tracking.mot_format import read_boxes
from tests.unit.serving.batch.conftest import BrightDetector, frame_of, settings_for_walkers, write_clip

FILES = ("tracks.txt", "tracks.parquet", "forecasts.parquet", "forecast_scores.parquet", "annotated.mp4")


@pytest.fixture(scope="module", autouse=True)
def small_segments() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(batch, "CHUNK_FRAMES", 8)
        patched.setattr(batch, "SEGMENT_CHUNKS", 2)
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an undisturbed run leaves; not to be changed."""
    folder = tmp_path_factory.mktemp("whole")
    video = open_video(write_clip(folder / "walkers"), 8.0)
    run_batch(video, folder / "out", BrightDetector(), ConstantVelocity(), settings_for_walkers())
    return folder / "out"


@pytest.fixture
def video(clip: Path) -> Video:
    return open_video(clip, 8.0)


def contents(out: Path) -> dict[str, bytes]:
    return {name: (out / name).read_bytes() for name in FILES}


def frames_of(path: Path) -> list[np.ndarray]:
    capture, frames = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG), []
    while True:
        read, image = capture.read()
        if not read:
            return frames
        frames.append(image)


def test_every_frame_is_in_every_file(video: Video, tmp_path: Path, batch_settings: BatchSettings) -> None:
    done: list[int] = []
    report = run_batch(
        video, tmp_path / "out", BrightDetector(), ConstantVelocity(), batch_settings, advance=done.append
    )
    assert (report["frames"], report["resumed_from_frame"], sum(done)) == (70, 0, 70)
    assert {"decode", "detect", "track", "forecast", "draw", "encode", "write"} <= set(report["stage_ms"])
    assert json.loads((tmp_path / "out" / "batch.json").read_text())["frames"] == 70
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted((*FILES, "batch.json"))
    boxes = read_boxes(tmp_path / "out" / "tracks.txt", length=70, identified=True)
    assert set(boxes.ids.tolist()) == {1, 2}
    assert set(boxes.frames.tolist()) == set(range(1, 71))
    tracks = pq.read_table(tmp_path / "out" / "tracks.parquet")
    assert tracks["frame"].to_pylist() == boxes.frames.tolist()
    assert tracks["track_id"].to_pylist() == boxes.ids.tolist()
    assert tracks["left_px"].to_numpy() == pytest.approx(boxes.xyxy[:, 0], abs=1e-3)
    assert tracks["captured_at"][0].as_py() == batch_settings.start_at
    forecasts = pq.read_table(tmp_path / "out" / "forecasts.parquet")
    assert forecasts.num_rows == report["rows"]["forecasts.parquet"] > 0
    assert all(len(path) == 12 for path in forecasts["x"].to_pylist())
    assert pq.read_table(tmp_path / "out" / "forecast_scores.parquet")["status"].to_pylist()[0] == "scored"
    drawn = frames_of(tmp_path / "out" / "annotated.mp4")
    assert len(drawn) == 70
    assert drawn[0].shape == (122, 160, 3)


@pytest.mark.parametrize(("cut", "resumed"), [(0, {0}), (24, {0, 16}), (32, {16}), (64, {48})])
def test_a_run_cut_short_goes_on_to_the_same_bytes(
    video: Video, tmp_path: Path, batch_settings: BatchSettings, whole: Path, cut: int, resumed: set[int]
) -> None:
    out = tmp_path / "cut"
    with pytest.raises(KeyboardInterrupt):
        run_batch(video, out, BrightDetector(fail_at_frame=cut), ConstantVelocity(), batch_settings)
    assert not (out / "batch.json").exists()
    (out / "unfinished" / "000007-annotated.mp4").write_bytes(b"left by a kill")
    (out / "unfinished" / ".nfs0001").write_bytes(b"left by a file system")
    done: list[int] = []
    report = run_batch(video, out, BrightDetector(), ConstantVelocity(), batch_settings, advance=done.append)
    assert contents(out) == contents(whole)
    # What was analysed but not yet written, two chunks at the most, is done again; two chunks make a segment.
    assert report["resumed_from_frame"] in resumed
    assert sum(done) == 70


class WatchedDetector(BrightDetector):
    """Tells when it is asked for its second chunk, for which it takes `second_takes_s`."""

    def __init__(self, second_takes_s: float = 0.0) -> None:
        super().__init__()
        self.calls = 0
        self.second, self._never = Event(), Event()
        self._second_takes_s = second_takes_s

    def detect(self, images: Sequence[UInt8Array]) -> tuple[list[Detections], str]:
        self.calls += 1
        if self.calls == 2:
            self.second.set()
            self._never.wait(self._second_takes_s)
        return super().detect(images)


def test_detection_goes_ahead_of_tracking(video: Video, tmp_path: Path, batch_settings: BatchSettings) -> None:
    detector = WatchedDetector()
    ahead: list[bool] = []

    def first_chunk_is_done(frames: int) -> None:
        if frames and not ahead:
            ahead.append(detector.second.wait(timeout=10))

    run_batch(video, tmp_path / "out", detector, ConstantVelocity(), batch_settings, advance=first_chunk_is_done)
    assert ahead == [True]


class PairedDetector(BrightDetector):
    """Its second and third chunk meet, and stay for .2 s; `spans` tells when each call was at work."""

    def __init__(self) -> None:
        super().__init__()
        self._meeting, self._never = Barrier(2, timeout=10), Event()
        self.spans: list[tuple[float, float]] = []

    def detect(self, images: Sequence[UInt8Array]) -> tuple[list[Detections], str]:
        began = time.perf_counter()
        if frame_of(images[0]) in (8, 16):
            self._meeting.wait()
            self._never.wait(0.2)
        found = super().detect(images)
        self.spans.append((began, time.perf_counter()))
        return found


def test_time_in_which_two_chunks_are_detected_counts_once(
    video: Video, tmp_path: Path, batch_settings: BatchSettings
) -> None:
    detector = PairedDetector()
    report = run_batch(video, tmp_path / "out", detector, ConstantVelocity(), batch_settings)
    at_work, until = 0.0, 0.0
    for began, ended in sorted(detector.spans):
        at_work += max(0.0, ended - max(began, until))
        until = max(until, ended)
    told = report["stage_ms"]["detect"] * report["frames"] / 1e3
    assert at_work - 0.001 <= told < at_work + 0.1
    assert sum(ended - began for began, ended in detector.spans) > at_work + 0.15


def test_a_failed_write_is_done_again(
    video: Video, tmp_path: Path, batch_settings: BatchSettings, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def draw(self: SegmentWriter, image: UInt8Array, observation: Observation) -> UInt8Array | None:
        if observation.sequence == 66:  # in the last chunk, which has no later write that could tell
            raise PathcastError("the disk is full")
        return drawn(self, image, observation)

    drawn = SegmentWriter.draw
    monkeypatch.setattr(SegmentWriter, "draw", draw)
    with pytest.raises(PathcastError, match="the disk is full"):
        run_batch(video, tmp_path / "out", BrightDetector(), ConstantVelocity(), batch_settings)
    monkeypatch.setattr(SegmentWriter, "draw", drawn)
    report = run_batch(video, tmp_path / "out", BrightDetector(), ConstantVelocity(), batch_settings)
    assert report["resumed_from_frame"] == 64
    assert contents(tmp_path / "out") == contents(whole)


def test_a_run_that_fails_detects_no_further(video: Video, tmp_path: Path, batch_settings: BatchSettings) -> None:
    detector = WatchedDetector(second_takes_s=0.5)

    def stop(frames: int) -> None:
        if frames:
            detector.second.wait(timeout=10)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_batch(video, tmp_path / "out", detector, ConstantVelocity(), batch_settings, advance=stop)
    assert detector.calls <= 3  # the two under way are finished


def test_a_finished_run_is_not_repeated(video: Video, tmp_path: Path, batch_settings: BatchSettings) -> None:
    out = tmp_path / "out"
    first = run_batch(video, out, BrightDetector(), ConstantVelocity(), batch_settings)
    before = contents(out)
    again = run_batch(video, out, BrightDetector(fail_at_frame=0), ConstantVelocity(), batch_settings)
    assert again["frames"] == first["frames"]
    assert contents(out) == before


@pytest.mark.parametrize("finished", [True, False])
def test_another_run_does_not_mix_with_what_is_there(
    video: Video, tmp_path: Path, batch_settings: BatchSettings, finished: bool
) -> None:
    out, other = tmp_path / "out", replace(batch_settings, models=("bright 2", "constant_velocity 1"))
    if finished:
        run_batch(video, out, BrightDetector(), ConstantVelocity(), batch_settings)
    else:
        with pytest.raises(KeyboardInterrupt):
            run_batch(video, out, BrightDetector(fail_at_frame=56), ConstantVelocity(), batch_settings)
    promoted = BrightDetector(version="2")
    with pytest.raises(InvalidInputError, match="another input, another model or other settings"):
        run_batch(video, out, promoted, ConstantVelocity(), other)
    assert run_batch(video, out, promoted, ConstantVelocity(), other, restart=True)["resumed_from_frame"] == 0


def test_models_that_are_loaded_on_the_way_are_not_mixed_in(
    video: Video, tmp_path: Path, batch_settings: BatchSettings
) -> None:
    class Promoted(BrightDetector):
        def detect(self, images: Sequence[UInt8Array]) -> tuple[list[Detections], str]:
            found, _ = super().detect(images)
            return found, "1" if frame_of(images[0]) < 32 else "2"

    class Ahead(ConstantVelocity):
        def forecast(self, observed: Float32Array, neighbours: Float32Array) -> ForecastBatch:
            return replace(super().forecast(observed, neighbours), model="forecaster", model_version="1")

    for detector, forecaster, name in (
        (Promoted(), ConstantVelocity(), "bright 2"),
        (BrightDetector(), Ahead(), "forecaster 1"),
    ):
        out = tmp_path / name
        message = f"this run is of bright 1, constant_velocity 1, now {name} answers"
        with pytest.raises(PathcastError, match=message):
            run_batch(video, out, detector, forecaster, batch_settings)
        assert not (out / "batch.json").exists()


def test_without_a_video_nothing_is_drawn(video: Video, tmp_path: Path, batch_settings: BatchSettings) -> None:
    settings = replace(batch_settings, annotate=False)
    run_batch(video, tmp_path / "out", BrightDetector(), ConstantVelocity(), settings)
    assert not (tmp_path / "out" / "annotated.mp4").exists()
    assert (tmp_path / "out" / "tracks.txt").stat().st_size > 0


def test_images_of_two_sizes_are_refused_by_frame(clip: Path, tmp_path: Path, batch_settings: BatchSettings) -> None:
    cv2.imwrite(str(clip / "0040.png"), np.zeros((60, 80, 3), np.uint8))
    video = open_video(clip, 8.0)
    with pytest.raises(InvalidInputError, match=r"0040\.png, frame 40: .* 159x121 .* got 80x60\n.*one size"):
        run_batch(video, tmp_path / "out", BrightDetector(), ConstantVelocity(), batch_settings)


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("name", ["annotated.mp4", "tracks.txt", "unfinished/holiday.mp4", "unfinished/mine/1.mp4"])
def test_other_peoples_files_stay(
    video: Video, tmp_path: Path, batch_settings: BatchSettings, name: str, restart: bool
) -> None:
    mine = tmp_path / "out" / name
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    with pytest.raises(InvalidInputError, match=rf"found other files, such as .*{name[:15]}.*\n.*--out"):
        run_batch(video, tmp_path / "out", BrightDetector(), ConstantVelocity(), batch_settings, restart=restart)
    assert mine.read_bytes() == b"mine"


@pytest.mark.parametrize("restart", [False, True])
def test_a_report_that_no_run_wrote_stays(
    video: Video, tmp_path: Path, batch_settings: BatchSettings, restart: bool
) -> None:
    report = tmp_path / "out" / "batch.json"
    report.parent.mkdir()
    report.write_text('{"mine": 1}')
    with pytest.raises(InvalidInputError, match=r"found other files, such as .*batch\.json\n.*--out"):
        run_batch(video, tmp_path / "out", BrightDetector(), ConstantVelocity(), batch_settings, restart=restart)
    assert report.read_text() == '{"mine": 1}'


def test_a_run_killed_between_its_results_and_its_report_goes_on(
    video: Video, tmp_path: Path, batch_settings: BatchSettings, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr("pathcast.serving.batch.segments.json.dumps", killed)
        with pytest.raises(KeyboardInterrupt):
            run_batch(video, out, BrightDetector(), ConstantVelocity(), batch_settings)
    assert (out / "annotated.mp4").exists()
    run_batch(video, out, BrightDetector(), ConstantVelocity(), batch_settings)
    assert contents(out) == contents(whole)


@pytest.mark.parametrize("removed", range(4))
def test_a_restart_killed_while_it_clears_can_be_given_again(
    video: Video, tmp_path: Path, batch_settings: BatchSettings, monkeypatch: pytest.MonkeyPatch, removed: int
) -> None:
    out, calls = tmp_path / "out", []

    def unlink(path: Path, missing_ok: bool = False) -> None:
        if len(calls) == removed:
            raise KeyboardInterrupt
        calls.append(path)
        real(path, missing_ok)

    run_batch(video, out, BrightDetector(), ConstantVelocity(), batch_settings)
    real = Path.unlink
    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", unlink)
        with pytest.raises(KeyboardInterrupt):
            BatchFolder(out, "other").clear()
    done = run_batch(video, out, BrightDetector(), ConstantVelocity(), batch_settings, restart=True)
    assert done["frames"] == 70


@pytest.mark.parametrize("name", ["batch.json", "unfinished/progress"])
@pytest.mark.parametrize("content", [b"", b'{"run": "', b"\xff", b"[]"])
def test_what_a_crash_has_torn_is_named(
    video: Video, tmp_path: Path, batch_settings: BatchSettings, name: str, content: bytes
) -> None:
    torn = tmp_path / "out" / name
    torn.parent.mkdir(parents=True)
    torn.write_bytes(content)
    with pytest.raises(InvalidInputError, match=rf"{name}: damaged: .*\n.*--restart"):
        run_batch(video, tmp_path / "out", BrightDetector(), ConstantVelocity(), batch_settings)
    done = run_batch(video, tmp_path / "out", BrightDetector(), ConstantVelocity(), batch_settings, restart=True)
    assert done["frames"] == 70


def test_a_folder_that_cannot_be_written_is_named(video: Video, tmp_path: Path, batch_settings: BatchSettings) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PathcastError, match=r"file/out: .*Not a directory.*\n.*check permissions"):
        run_batch(video, tmp_path / "file" / "out", BrightDetector(), ConstantVelocity(), batch_settings)


def test_a_folder_is_one_runs_at_a_time(video: Video, tmp_path: Path, batch_settings: BatchSettings) -> None:
    out = tmp_path / "out"

    class AnotherStarts(BrightDetector):
        def detect(self, images: Sequence[UInt8Array]) -> tuple[list[Detections], str]:
            if frame_of(images[0]) == 32:
                for restart in (False, True):
                    with pytest.raises(PathcastError, match="another run is writing there"):
                        run_batch(video, out, BrightDetector(), ConstantVelocity(), batch_settings, restart=restart)
            return super().detect(images)

    report = run_batch(video, out, AnotherStarts(), ConstantVelocity(), batch_settings)
    assert report["frames"] == 70 == len(frames_of(out / "annotated.mp4"))
    assert sorted(path.name for path in out.iterdir()) == sorted((*FILES, "batch.json"))
