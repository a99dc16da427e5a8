"""The examples of the clients' page, run as they are printed, on the real models behind the real Triton."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
from tritonclient.grpc import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException

from pathcast.local.ports import choose_ports
from pathcast.local.triton import TritonPorts, remove_leftover_memory, server_command
from pathcast.local.triton_install import install_triton
from pathcast.registry.shipped import FOLDER as SHIPPED
from pathcast.serving.triton_client import TritonClient

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "clients.md"
DATA = Path(os.environ.get("PATHCAST_DATA", ROOT.parent / "shared" / "data"))
PRINTED_ADDRESS = "127.0.0.1:8001"
LONGEST_EXAMPLE_LINES = 18
"""Fifteen lines of doing, and the imports."""


def examples():
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return {
        "mot" if "StreamClient" in block else re.search(r'\.infer\("(\w+)"', block).group(1): block for block in blocks
    }


def section(page, model):
    return re.search(rf"^## `{model}`.*?(?=^## |\Z)", page, re.DOTALL | re.MULTILINE).group()


@pytest.fixture(scope="module", params=["shipped", "imported"])
def repository(request, tmp_path_factory):
    """A model repository with the detector that comes with Pathcast, 320 high and 416 wide, or a square one."""
    from pathcast.export.onnx import to_onnx
    from pathcast.export.onnx_file import save_onnx
    from pathcast.export.triton_config import render_config
    from pathcast.forecasting.model import build_forecaster
    from pathcast.forecasting.settings import ForecasterSettings
    from pathcast.registry.detector import write_detector
    from pathcast.registry.mot import write_mot

    source, clip = DATA / "models" / "yolox_nano.onnx", DATA / "pets09_s2l1" / "vtest.avi"
    for path in (source, clip):
        if not path.exists():
            pytest.skip(f"{path} is not there; PATHCAST_DATA names the folder of the evaluation data")
    folder = tmp_path_factory.mktemp("repository")
    write_mot(folder / "mot")
    if request.param == "shipped":
        shutil.copytree(SHIPPED / "detector", folder / "detector")
    else:
        write_detector(source, folder, frames=clip)
    forecaster = folder / "forecaster" / "1" / "model.onnx"
    forecaster.parent.mkdir(parents=True)
    save_onnx(to_onnx(build_forecaster(ForecasterSettings()), ("paths", "log_probs")), forecaster)
    (folder / "forecaster" / "config.pbtxt").write_text(render_config("forecaster", forecaster))
    return folder


@pytest.fixture(scope="module")
def address(repository, tmp_path_factory):
    ports = TritonPorts(**choose_ports(["grpc", "http", "metrics"], {}))
    prefix = f"pathcast_page_{os.getpid()}_"
    command = server_command(install_triton(), ports, repository, shared_memory_prefix=prefix)
    log = tmp_path_factory.mktemp("log") / "triton.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command.argv, env=command.env, stdout=output, stderr=output)
    try:
        with TritonClient(f"127.0.0.1:{ports.grpc}") as client:
            client.wait_until_ready(timeout_s=60)
            for model in ("detector", "forecaster", "mot"):
                client.load(model)
        yield f"127.0.0.1:{ports.grpc}"
    finally:
        process.terminate()
        process.wait(40)
        remove_leftover_memory(prefix)


@pytest.fixture
def run_example(address, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(model):
        code = examples()[model]
        assert PRINTED_ADDRESS in code
        names = {}
        exec(compile(code.replace(PRINTED_ADDRESS, address), f"{PAGE.name}:{model}", "exec"), names)  # noqa: S102
        return names

    return run


def test_every_served_model_has_an_example_and_its_tables_are_true(address):
    page = PAGE.read_text()
    assert examples().keys() == {"detector", "forecaster", "mot"}
    with TritonClient(address) as client:
        for model in examples():
            metadata = client.metadata(model)
            for way, specs in (("in", metadata.inputs), ("out", metadata.outputs)):
                for name, spec in specs.items():
                    row = re.search(rf"\| {way} \| `{name}` \| (\w+) \| \[(.*?)\]", section(page, model))
                    assert row, f"no row for {model}'s {name}"
                    assert row.group(1) == spec.datatype
                    sizes = [size.strip() for size in row.group(2).split(",")]
                    assert len(sizes) == len(spec.shape)
                    # The batch is free, and the table does not say how many modes a forecaster has.
                    true = [str(size) if text.isdigit() else text for text, size in zip(sizes, spec.shape, strict=True)]
                    assert sizes == true, f"{model}: {name} is {spec}"
                    assert (sizes[0], spec.shape[0]) == ("n", -1)


def test_examples_are_short():
    for code in examples().values():
        assert len([line for line in code.splitlines() if line.strip()]) <= LONGEST_EXAMPLE_LINES


def test_the_detector_example_finds_the_people_of_a_real_frame(run_example, capsys):
    capture = cv2.VideoCapture(str(DATA / "pets09_s2l1" / "vtest.avi"))
    _, frame = capture.read()
    capture.release()
    cv2.imwrite("frame.jpg", frame)
    names = run_example("detector")
    people = [row for row in names["kept"] if names["classes"][row] == 0]
    assert len(people) >= 3
    boxes = names["boxes"][people] / names["scale"]
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert (boxes > -20).all()
    assert (boxes < np.array([768, 576, 768, 576]) + 20).all()
    assert len(capsys.readouterr().out.splitlines()) == len(names["kept"])


def test_the_forecaster_example_goes_on_walking(run_example, capsys):
    names = run_example("forecaster")
    assert names["paths"].shape[1:] == (12, 2)
    assert np.exp(names["log_probs"]).sum() == pytest.approx(1, abs=1e-4)
    straight_on = names["walker"][-1] + 12 * 0.4 * np.array([1.3, 0.2])
    # Even an untrained forecaster starts from walking straight on.
    assert np.linalg.norm(names["paths"][names["likeliest"]][-1] - straight_on) < 3
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("version 1 ")
    assert len(out) == 13


def test_a_forecaster_is_not_asked_without_neighbours(address):
    tensor = InferInput("observed", [1, 8, 2], "FP32")
    tensor.set_data_from_numpy(np.zeros((1, 8, 2), np.float32))
    with InferenceServerClient(address) as client, pytest.raises(InferenceServerException, match="expected 2 inputs"):
        client.infer("forecaster", [tensor])


def test_the_stream_example_follows_the_people_of_a_real_clip(run_example, capsys):
    capture = cv2.VideoCapture(str(DATA / "pets09_s2l1" / "vtest.avi"))
    video = cv2.VideoWriter("street.mp4", cv2.VideoWriter.fourcc(*"mp4v"), 7, (768, 576))
    for _ in range(40):
        video.write(capture.read()[1])
    video.release()
    capture.release()
    names = run_example("mot")
    assert names["seen"].sequence == 39
    assert len(names["seen"].tracks) >= 3
    out = capsys.readouterr().out.splitlines()
    assert len([line for line in out if line[0].isdigit() and "{" in line]) == 40
    assert any(line.endswith("frame_heights in 4.8 s") for line in out)
