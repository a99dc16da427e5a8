"""The demo, run as people run it: every figure it must reach, and nothing left running after Ctrl-C."""

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import cv2
import psutil
import pytest

from pathcast.local.platform import Platform

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("PATHCAST_DATA", ROOT.parent / "shared" / "data")).resolve()
CLIP = DATA / "pets09_s2l1" / "vtest.avi"
DETECTOR = DATA / "models" / "yolox_nano.onnx"
PATHCAST = Path(sys.executable).parent / "pathcast"
FLOORS = tomllib.loads((ROOT / "tests" / "floors.toml").read_text())["demo"]
LIMIT_S = 120


@pytest.fixture(autouse=True)
def _data():
    for path in (CLIP, DETECTOR):
        if not path.exists():
            pytest.skip(f"{path} is not there; PATHCAST_DATA names the folder of the evaluation data")


def start_demo(state_dir: Path, *arguments: str) -> subprocess.Popen:
    log = (state_dir.parent / f"{state_dir.name}.log").open("wb")
    return subprocess.Popen(
        [PATHCAST, "demo", "--state-dir", state_dir, *arguments],
        cwd=ROOT,
        env={**os.environ, "PATHCAST_DATA": str(DATA)},
        stdout=log,
        stderr=log,
    )


def log_of(state_dir: Path) -> str:
    return (state_dir.parent / f"{state_dir.name}.log").read_text()


def processes_in(folder: Path) -> list[str]:
    """Whatever still runs in a folder or was started with its path."""
    found = []
    for process in psutil.process_iter():
        try:
            if str(folder) in " ".join([process.cwd(), *process.cmdline()]):
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found


def test_the_demo_reaches_its_figures(tmp_path):
    state_dir, figures_file = tmp_path / "state", tmp_path / "demo.json"
    assert start_demo(state_dir, "--json", str(figures_file)).wait(600) == 0, log_of(state_dir)
    figures = json.loads(figures_file.read_text())
    assert figures["frames_stored"] == figures["frames_analysed"] == figures["frames_expected"] == 795
    assert (figures["duplicate_rows"], figures["sequence_gaps"]) == (0, 0)
    for name in ("person_ap50", "hota", "idf1", "mota", "fps"):
        assert figures[name] >= FLOORS[name], name
    assert figures["ade_m"] < figures["constant_velocity_ade_m"]
    assert figures["fde_m"] < figures["constant_velocity_fde_m"]
    # What was made is scored, closed with its track, or younger than its horizon; nothing is lost between.
    assert figures["forecasts_scored"] > 1_500
    counts = (figures[f"forecasts_{state}"] for state in ("scored", "track_ended", "open"))
    assert sum(counts) == figures["forecasts"]
    assert figures["forecasts_open"] < 200
    assert set(figures["models"]) == {"detector", "forecaster"}

    report = (state_dir / "demo" / "report.html").read_text()
    assert "vtest.avi" in report
    capture = cv2.VideoCapture(str(state_dir / "demo" / "annotated.mp4"))
    assert int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) == 795
    capture.release()
    assert "password" not in log_of(state_dir).lower()
    assert processes_in(state_dir) == []


@pytest.mark.parametrize(
    ("number", "until"), [(signal.SIGINT, "start the services"), (signal.SIGTERM, "stream frames 0")]
)
def test_an_interrupt_leaves_nothing_running(tmp_path, number, until):
    state_dir = tmp_path / "state"
    demo = start_demo(state_dir)
    deadline = time.monotonic() + LIMIT_S
    while until not in log_of(state_dir):
        assert demo.poll() is None, log_of(state_dir)
        assert time.monotonic() < deadline, log_of(state_dir)
        time.sleep(0.05)
    demo.send_signal(number)
    assert demo.wait(LIMIT_S) == 130, log_of(state_dir)
    assert processes_in(state_dir) == []
    assert all(part.state in ("stopped", "dead") for part in Platform(state_dir).status())


def test_an_uncalibrated_video_comes_out_in_frame_heights(tmp_path):
    state_dir, figures_file = tmp_path / "state", tmp_path / "demo.json"
    video = DATA / "videos" / "one-by-one-person-detection.mp4"
    arguments = ("--video", str(video), "--json", str(figures_file))
    assert start_demo(state_dir, *arguments).wait(600) == 0, log_of(state_dir)
    figures = json.loads(figures_file.read_text())
    assert figures["units"] == "frame_heights"
    assert figures["frames_stored"] == figures["frames_analysed"] == figures["frames_expected"]
    assert figures["hota"] is None
    assert "ade_m" not in figures


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--video", "nowhere.avi"), "nowhere.avi: no such file"),
        (("--detector", "nowhere.onnx"), "nowhere.onnx: no such file"),
        (("--camera-file", "nowhere.toml"), "camera file nowhere.toml"),
    ],
)
def test_wrong_files_are_named_before_anything_starts(tmp_path, arguments, complaint):
    state_dir = tmp_path / "state"
    assert start_demo(state_dir, *arguments).wait(LIMIT_S) == 1
    assert complaint in log_of(state_dir)
    assert not (state_dir / "platform.json").exists()
