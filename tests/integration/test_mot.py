"""The endpoint for clients that stream frames, in the real Triton: a small detector, the real forecaster.

The detector finds two boxes, whose places are the red and the green of a frame's first pixel.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
import onnx
import psutil
import pytest
from onnx import TensorProto, helper
from support.running import command_lines

from pathcast.core.camera import Camera
from pathcast.core.errors import InvalidInputError, PathcastError, ServiceUnavailableError
from pathcast.core.frame import Frame
from pathcast.core.ground_plane import HomographyPlane
from pathcast.export.triton_config import render_config
from pathcast.local.ports import choose_ports
from pathcast.local.triton import TritonPorts, remove_leftover_memory, server_command
from pathcast.local.triton_install import install_triton
from pathcast.messaging.observation_codec import decode_observation, encode_observation
from pathcast.registry.mot import write_mot
from pathcast.serving import StreamClient
from pathcast.serving.frame_analyzer import FrameAnalyzer
from pathcast.serving.model_metadata import SequenceStep, random_sequence
from pathcast.serving.remote_models import RemoteDetector, RemoteForecaster
from pathcast.serving.triton_client import TritonClient
from pathcast.tracking.settings import TrackerSettings

pytestmark = pytest.mark.integration

FORECASTER = Path(__file__).parents[2] / "model_repo" / "forecaster"
START = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
FRAMES_PER_SECOND = 5
SIDE = 256
STREAMS = 8
FRAMES = 60
BRIEF_S = 4.0


def save_detector(folder: Path, version: int, side: int) -> None:
    """Boxes (red, 10, red + 20, 50) and (green, 100, green + 20, 140), both sure, that look nothing like each other."""
    places = np.zeros((3, 8), np.float32)
    places[0, [0, 2]] = places[1, [4, 6]] = 1
    constants = {
        "first": np.array([0, 0, 0, 0]), "last": np.array([2**31, 1, 1, 3]), "places": places,
        "corners": np.array([0, 10, 20, 50, 0, 100, 20, 140], np.float32), "two": np.array([-1, 2, 4]),
        "pixel": np.array([-1, 3]), "none": np.zeros((3, 2), np.float32), "sure": np.full(2, 0.9, np.float32),
        "third": np.array([2]), "looks": np.eye(2, dtype=np.float32)[None],
    }  # fmt: skip
    nodes = [
        helper.make_node("Slice", ["images", "first", "last"], ["corner"]),
        helper.make_node("Reshape", ["corner", "pixel"], ["bytes"]),
        helper.make_node("Cast", ["bytes"], ["colour"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["colour", "places"], ["moved"]),
        helper.make_node("Add", ["moved", "corners"], ["flat"]),
        helper.make_node("Reshape", ["flat", "two"], ["boxes"]),
        helper.make_node("MatMul", ["colour", "none"], ["zeros"]),
        helper.make_node("Add", ["zeros", "sure"], ["scores"]),
        helper.make_node("Cast", ["zeros"], ["classes"], to=TensorProto.INT64),
        helper.make_node("Unsqueeze", ["zeros", "third"], ["blank"]),
        helper.make_node("Add", ["blank", "looks"], ["embeddings"]),
    ]
    graph = helper.make_graph(
        nodes,
        "detector",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", side, side, 3])],
        [
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["n", 2, 4]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 2]),
            helper.make_tensor_value_info("classes", TensorProto.INT64, ["n", 2]),
            helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["n", 2, 2]),
        ],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    (folder / str(version)).mkdir(parents=True)
    path = folder / str(version) / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    (folder / "config.pbtxt").write_text(render_config(folder.name, path))


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`mot` as it is published; `mot_brief`, which is impatient; `mot_apart`, with a detector of its own."""
    folder = tmp_path_factory.mktemp("repository")
    shutil.copytree(FORECASTER, folder / "forecaster")
    save_detector(folder / "detector", 1, SIDE)
    save_detector(folder / "other_detector", 1, SIDE)
    for name, old, new in (
        ("mot", "", ""),
        ("mot_brief", "60000000", str(int(BRIEF_S * 1e6))),
        ("mot_apart", 'string_value: "detector"', 'string_value: "other_detector"'),
    ):
        write_mot(folder / name)
        config = folder / name / "config.pbtxt"
        config.write_text(config.read_text().replace('"mot"', f'"{name}"').replace(old, new))
    return folder


@pytest.fixture(scope="module")
def server(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, psutil.Process]]:
    ports = TritonPorts(**choose_ports(["grpc", "http", "metrics"], {}))
    prefix = f"pathcast_mot_{os.getpid()}_"
    command = server_command(install_triton(), ports, repository, shared_memory_prefix=prefix)
    log = tmp_path_factory.mktemp("log") / "triton.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command.argv, env=command.env, stdout=output, stderr=output)
    try:
        with TritonClient(f"127.0.0.1:{ports.grpc}") as client:
            client.wait_until_ready(timeout_s=60)
            for model in ("detector", "other_detector", "forecaster", "mot", "mot_brief", "mot_apart"):
                client.load(model)
        yield f"127.0.0.1:{ports.grpc}", psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(40)
        remove_leftover_memory(prefix)


@pytest.fixture
def address(server: tuple[str, psutil.Process]) -> str:
    return server[0]


def an_image(stream: int, index: int) -> np.ndarray:
    """Two objects that walk towards each other at a pace of their own."""
    image = np.zeros((192, SIDE, 3), np.uint8)
    image[..., 0] = 10 + (stream + 1) * index // 4
    image[..., 1] = 200 - index
    return image


def a_jpeg(stream: int, index: int) -> bytes:
    return cv2.imencode(".jpg", an_image(stream, index)[..., ::-1])[1].tobytes()


def at(index: int) -> datetime:
    return START + timedelta(seconds=index / FRAMES_PER_SECOND)


def a_camera(stream: int) -> Camera | None:
    plane = HomographyPlane(np.diag([0.05, 0.05, 1.0]))
    return Camera(f"gate-{stream}", plane) if stream % 2 else None


def run_stream(address: str, stream: int) -> list[bytes]:
    """The observations of one stream: every other one in pixels through shared memory, else in JPEGs."""
    shared = stream % 4 < 2
    with StreamClient(address, camera=a_camera(stream), shared_memory=shared) as client:
        make = an_image if shared else a_jpeg
        return [encode_observation(client.send(make(stream, index), at(index))) for index in range(FRAMES)]


def test_streams_at_once_get_what_each_gets_alone(address: str) -> None:
    with ThreadPoolExecutor(STREAMS) as threads:
        together = list(threads.map(lambda stream: run_stream(address, stream), range(STREAMS)))
    alone = [run_stream(address, stream) for stream in range(STREAMS)]
    for stream in range(STREAMS):
        assert together[stream] == alone[stream], f"stream {stream} saw something else in company"
    seen = [[decode_observation(value) for value in stream] for stream in alone]
    assert {o.camera_id for o in seen[1]} == {"gate-1"}
    assert {o.camera_id for o in seen[2]} == {"stream"}
    assert [{o.units for o in stream} for stream in seen[:2]] == [{"frame_heights"}, {"m"}]
    for stream in seen:
        assert stream[-1].tracks.track_ids.tolist() == [1, 2]
        assert {f.model for o in stream for f in o.forecasts} == {"forecaster"}
        assert "scored" in {score.status for o in stream for score in o.scores}


def test_the_endpoint_is_the_platforms_analyzer(address: str) -> None:
    camera = a_camera(1)
    with TritonClient(address) as client:
        (found,), _ = RemoteDetector(client).detect([an_image(1, 0)])
        assert found.embeddings is not None
        assert found.embeddings.tolist() == [[1, 0], [0, 1]]
        analyzer = FrameAnalyzer(
            RemoteDetector(client),
            RemoteForecaster(client),
            lambda _: camera,
            lambda _: nullcontext(),
            TrackerSettings(),
        )
        with closing(analyzer):
            frames = [Frame("gate-1", n, at(n), SIDE, 192, a_jpeg(1, n)) for n in range(FRAMES)]
            expected = [encode_observation(outcome) for outcome in analyzer.analyze(frames)]
    with StreamClient(address, camera=camera) as stream:
        assert [encode_observation(stream.send(frame.jpeg, frame.captured_at)) for frame in frames] == expected


def test_tensors_say_what_the_observation_says(address: str) -> None:
    sequence = random_sequence()
    with TritonClient(address) as client:
        for index in range(30):
            answer = client.infer(
                "mot",
                {"jpeg": np.array([[a_jpeg(1, index)]], object), "captured_at": nanoseconds(index)},
                optional=("pixels", "camera", "client"),
                sequence=SequenceStep(sequence, start=index == 0, end=index == 29),
            )
            arrays = {name: array[0] for name, array in answer.outputs.items()}
            seen = decode_observation(arrays["observation"].item())
            if seen.forecasts:
                break
    assert arrays["boxes"].tolist() == seen.detections.xyxy.tolist() != []
    assert arrays["scores"].tolist() == seen.detections.scores.tolist()
    assert arrays["classes"].tolist() == seen.detections.class_ids.tolist()
    assert arrays["track_ids"].tolist() == seen.tracks.track_ids.tolist() == [1, 2]
    assert arrays["track_boxes"].tolist() == seen.tracks.xyxy.tolist()
    assert arrays["track_scores"].tolist() == seen.tracks.scores.tolist()
    assert arrays["track_classes"].tolist() == seen.tracks.class_ids.tolist()
    assert arrays["positions"].tolist() == seen.positions.tolist()
    assert arrays["forecast_track_ids"].tolist() == [forecast.track_id for forecast in seen.forecasts] == [1, 2]
    assert arrays["forecast_paths"].tolist() == [forecast.paths.tolist() for forecast in seen.forecasts]
    assert arrays["forecast_log_probs"].tolist() == [forecast.log_probs.tolist() for forecast in seen.forecasts]


def nanoseconds(index: int) -> np.ndarray:
    return np.array([[(at(index) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1_000]])


@pytest.mark.parametrize(
    ("frame", "complaint"),
    [
        (b"not a picture", "frame 3: JPEG: expected to start with ff d8"),
        (a_jpeg(1, 3)[:-30], "frame 3: JPEG: no end marker"),
        (b"", "frame 3: JPEG: expected to start with ff d8, got nothing"),
        (a_jpeg(1, 3)[:200] + b"\xff\xd9", "frame 3"),
        (np.zeros((0, SIDE, 3), np.uint8), "frame"),
        (np.zeros((4, 4, 3), np.float32), "expected the bytes of a JPEG, or uint8"),
    ],
)
def test_a_bad_frame_is_refused_and_the_stream_goes_on(address: str, frame: object, complaint: str) -> None:
    with StreamClient(address) as stream:
        for index in range(3):
            stream.send(a_jpeg(1, index), at(index))
        with pytest.raises(InvalidInputError, match=complaint):
            stream.send(frame, at(3))
        seen = stream.send(a_jpeg(1, 4), at(4))
        assert seen.tracks.track_ids.tolist() == [1, 2]
        with pytest.raises(InvalidInputError, match="same captured_at"):
            stream.send(a_jpeg(1, 4), at(4))
        assert stream.send(a_jpeg(1, 5), at(5)).tracks.track_ids.tolist() == [1, 2]


def test_a_stream_whose_first_frame_is_bad_begins_with_the_next(address: str) -> None:
    with StreamClient(address, camera=a_camera(1)) as stream:
        with pytest.raises(InvalidInputError, match="JPEG"):
            stream.send(b"not a picture", at(0))
        assert stream.send(a_jpeg(1, 1), at(1)).camera_id == "gate-1"


def test_streams_that_never_began_leave_their_places(address: str) -> None:
    for _ in range(257):  # one more than the server has places
        with StreamClient(address) as stream, pytest.raises(InvalidInputError, match="JPEG"):
            stream.send(b"not a picture", at(0))
    with StreamClient(address, timeout_s=10) as stream:
        assert stream.send(a_jpeg(1, 0), at(0)).sequence == 0


def test_closed_streams_take_no_frames(address: str) -> None:
    with StreamClient(address) as stream:
        stream.send(a_jpeg(1, 0), at(0))
    stream.close()
    with pytest.raises(PathcastError, match="the stream is closed"):
        stream.send(a_jpeg(1, 1), at(1))
    with TritonClient(address) as client, pytest.raises(InvalidInputError, match="must specify the START flag"):
        client.infer(
            "mot",
            {"jpeg": np.array([[a_jpeg(1, 1)]], object), "captured_at": nanoseconds(1)},
            optional=("pixels", "camera", "client"),
            sequence=SequenceStep(stream.sequence_id),
        )


def test_a_stranger_with_the_same_sequence_id_changes_nothing(address: str) -> None:
    expected = run_stream(address, 3)
    with StreamClient(address, camera=a_camera(3)) as stream, StreamClient(address) as stranger:
        stranger.sequence_id = stream.sequence_id
        seen = []
        for index in range(FRAMES):
            seen.append(encode_observation(stream.send(a_jpeg(3, index), at(index))))
            with pytest.raises(InvalidInputError, match="it belongs to another client"):
                stranger.send(a_jpeg(5, index), at(index))
    assert seen == expected


def test_an_idle_stream_is_over_and_a_busy_one_is_not(address: str) -> None:
    with StreamClient(address, model="mot_brief") as idle, StreamClient(address, model="mot_brief") as busy:
        idle.send(a_jpeg(1, 0), at(0))
        end = time.monotonic() + 2.5 * BRIEF_S
        index = 0
        while time.monotonic() < end:
            busy.send(a_jpeg(1, 0), at(index))
            index += 1
        with pytest.raises(ServiceUnavailableError, match="the stream is over"):
            idle.send(a_jpeg(1, 1), at(1))
        assert busy.send(a_jpeg(1, 0), at(index)).tracks.track_ids.tolist() == [1, 2]


def test_a_detector_that_goes_and_comes_back_with_another_input_size(address: str, repository: Path) -> None:
    with TritonClient(address) as models, StreamClient(address, model="mot_apart") as stream:
        assert stream.send(a_jpeg(1, 0), at(0)).detector_version == "1"
        models.unload("other_detector")
        with pytest.raises(ServiceUnavailableError, match="the frame is lost: model other_detector is not served"):
            stream.send(a_jpeg(1, 1), at(1))
        save_detector(repository / "other_detector", 2, 2 * SIDE)
        models.load("other_detector")
        seen = stream.send(a_jpeg(1, 1), at(1))
        assert (seen.detector_version, seen.sequence) == ("2", 2)
        assert len(seen.detections) == 2


def test_a_new_stream_replaces_a_model_process_that_was_killed(server: tuple[str, psutil.Process]) -> None:
    address, triton = server
    with StreamClient(address, model="mot_apart") as lost:
        lost.send(a_jpeg(1, 0), at(0))
        (process,) = (child for child, line in command_lines(triton.children()).items() if "/mot_apart/" in line)
        process.send_signal(signal.SIGKILL)
        with pytest.raises(ServiceUnavailableError):
            lost.send(a_jpeg(1, 1), at(1))
        with StreamClient(address, model="mot_apart") as stream:
            assert stream.send(a_jpeg(1, 0), at(0)).tracks.track_ids.tolist() == [1, 2]
        with pytest.raises(ServiceUnavailableError, match="the stream is over"):
            lost.send(a_jpeg(1, 2), at(2))


def test_a_client_that_dies_leaves_the_others_alone(address: str, tmp_path: Path) -> None:
    expected = run_stream(address, 2)
    (tmp_path / "frame.jpg").write_bytes(a_jpeg(5, 0))
    code = f"""
import os
from pathlib import Path
from pathcast.serving import StreamClient

stream = StreamClient({address!r})
for _ in range(3):
    stream.send(Path("frame.jpg").read_bytes())
os.kill(os.getpid(), 9)
"""
    dead = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False)
    assert dead.returncode == -signal.SIGKILL
    assert run_stream(address, 2) == expected
