"""The command line that the manifests give Triton, tried with the embedded server of the same make."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from support.bright import bright_square, write_bright_detector
from tritonclient.grpc import InferenceServerClient

from pathcast.export.triton_config import render_config
from pathcast.forecasting.walks import random_walks
from pathcast.local.ports import choose_ports
from pathcast.local.triton import TritonPorts, remove_leftover_memory, server_command
from pathcast.local.triton_install import install_triton
from pathcast.registry.mot import write_mot
from pathcast.serving import StreamClient
from pathcast.serving.triton_client import TritonClient

pytestmark = pytest.mark.integration

PROJECT = Path(__file__).parents[2]
RUNTIME = PROJECT / "deployments" / "serving" / "base" / "runtime.yaml"
MEMORY = "pathcast_cluster_triton"
READY_LIMIT_S = 90


def cluster_arguments(repository: Path, ports: TritonPorts) -> list[str]:
    """The arguments of the manifest, with this machine's repository and ports."""
    (container,) = yaml.safe_load(RUNTIME.read_text())["spec"]["containers"]
    assert container["command"] == ["tritonserver"]
    moved = {"--http-port": ports.http, "--grpc-port": ports.grpc, "--metrics-port": ports.metrics}
    arguments = [argument.replace("$(MODEL_REPOSITORY)", str(repository)) for argument in container["args"]]
    named = [argument.partition("=") for argument in arguments]
    return [f"{name}={moved.get(name, value)}" if equals else name for name, equals, value in named]


def test_the_cluster_s_command_line_serves_every_model_that_can_be_served(tmp_path: Path) -> None:
    repository = tmp_path / "models"
    shutil.copytree(PROJECT / "model_repo" / "forecaster", repository / "forecaster")
    # A GPU server's configuration of a model is taken before its general one.
    text = (repository / "forecaster" / "config.pbtxt").read_text()
    (repository / "forecaster" / "configs").mkdir()
    (repository / "forecaster" / "configs" / "gpu.pbtxt").write_text(
        text.replace("max_batch_size: 1024", "max_batch_size: 17")
    )
    shutil.copytree(repository / "forecaster", repository / "plain")
    shutil.rmtree(repository / "plain" / "configs")
    (repository / "plain" / "config.pbtxt").write_text(text.replace('"forecaster"', '"plain"', 1))
    detector = write_bright_detector(tmp_path / "bright.onnx")
    (repository / "detector" / "1").mkdir(parents=True)
    shutil.copy(detector, repository / "detector" / "1" / "model.onnx")
    (repository / "detector" / "config.pbtxt").write_text(render_config("detector", detector))
    write_mot(repository / "mot")
    # A version that waits for its trial has no configuration yet, and keeps nobody from starting.
    (repository / "waiting" / "1").mkdir(parents=True)
    (repository / "README.md").write_text("# Model repository\n")
    chosen = choose_ports(["grpc", "http", "metrics"], {})
    ports = TritonPorts(chosen["grpc"], chosen["http"], chosen["metrics"])
    local = server_command(install_triton(), ports, repository, shared_memory_prefix=MEMORY)
    # What the image knows by itself: where backends are, and that this machine's addresses are its own.
    machine = ("--backend", "--grpc-address", "--http-address", "--metrics-address")
    own = [part for part in local.argv[1:] if part.startswith(machine)]
    log = tmp_path / "triton.log"
    with log.open("wb") as out:
        server = subprocess.Popen(
            [local.argv[0], *cluster_arguments(repository, ports), *own], env=dict(local.env), stdout=out, stderr=out
        )
    try:
        with TritonClient(f"127.0.0.1:{ports.grpc}") as client:
            end = time.monotonic() + READY_LIMIT_S
            while not all(client.ready(model) for model in ("forecaster", "plain", "detector", "mot")):
                assert server.poll() is None, log.read_text()[-3_000:]
                assert time.monotonic() < end, log.read_text()[-3_000:]
                time.sleep(0.2)
            assert not client.ready("waiting")
            walker = random_walks(1, seed=0)
            for model in ("forecaster", "plain"):
                assert client.infer(model, walker).outputs["paths"].shape == (1, 20, 12, 2)
        with StreamClient(f"127.0.0.1:{ports.grpc}", fps=10) as stream:
            seen = [stream.send(bright_square(96, 32 + frame, 32, 32)) for frame in range(6)]
        assert len(seen[-1].detections) > 0
        assert len(seen[-1].tracks) > 0
        with InferenceServerClient(f"127.0.0.1:{ports.grpc}") as plain:
            limits = {model: plain.get_model_config(model).config.max_batch_size for model in ("forecaster", "plain")}
        assert limits == {"forecaster": 17, "plain": 1024}
    finally:
        server.terminate()
        try:
            server.wait(40)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        remove_leftover_memory(MEMORY)
