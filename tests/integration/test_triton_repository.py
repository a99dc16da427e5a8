"""Triton on the object store: published versions are served, also after either of the two was killed."""

import time

import numpy as np
import onnx
import psutil
import pytest
from onnx import TensorProto, helper
from support.running import command_lines

from pathcast.core.errors import PathcastError
from pathcast.export.triton_config import render_config
from pathcast.local.platform import Platform
from pathcast.registry.repository import ModelRepository
from pathcast.serving.triton_client import TritonClient
from pathcast.storage.object_store import object_store

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def platform(tmp_path_factory):
    """The two parts that this is about."""
    platform = Platform(tmp_path_factory.mktemp("platform"))
    try:
        platform.start("object_store")
        platform.start("triton")
        yield platform
    finally:
        platform.down()


@pytest.fixture
def client(platform):
    with TritonClient(platform.settings().triton_grpc, shared_memory=True) as client:
        yield client


class Killed(Exception):
    """The uploading process is gone."""


class DyingStore:
    """An S3 client whose process is killed before one of its uploads."""

    def __init__(self, client, uploads):
        self._client, self._uploads = client, uploads

    def put_object(self, *arguments, **named):
        self._uploads -= 1
        if self._uploads < 0:
            raise Killed
        return self._client.put_object(*arguments, **named)

    def __getattr__(self, name):
        return getattr(self._client, name)


@pytest.fixture
def publish(platform, tmp_path):
    def publish(version, killed_after=1000):
        """`scale`: its input times the version's number."""
        values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3]) for name in ("x", "y")]
        factor = helper.make_tensor("factor", TensorProto.FLOAT, [1], [version])
        graph = helper.make_graph(
            [helper.make_node("Mul", ["x", "factor"], ["y"])], "g", values[:1], values[1:], [factor]
        )
        path = tmp_path / f"{version}.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
        settings = platform.settings()
        repository = ModelRepository(DyingStore(object_store(settings), killed_after), settings.models_bucket)
        try:
            repository.publish("scale", path, render_config("scale", path), version=version, card="for a test")
        finally:
            # Triton takes a folder for unchanged whose newest time, in whole seconds, is the one it knows.
            second = int(time.time())
            while int(time.time()) == second:
                time.sleep(0.05)

    return publish


def scaled_by(client):
    answer = client.infer("scale", {"x": np.ones((2, 3), np.float32)})
    assert (answer.outputs["y"] == answer.outputs["y"][0, 0]).all()
    return answer.outputs["y"][0, 0], answer.model_version


def test_published_versions_are_served_through_kills(platform, publish, client):
    copies = platform.state_dir / "data" / "triton" / "copies"
    with pytest.raises(PathcastError, match="not in the repository"):
        client.load("scale")
    publish(1)
    client.load("scale")
    assert scaled_by(client) == (1.0, "1")
    publish(2)
    assert scaled_by(client) == (1.0, "1"), "nothing changes until it is told to"
    client.load("scale")
    assert scaled_by(client) == (2.0, "2")

    platform.kill("triton")
    left = set(copies.iterdir())
    platform.start("triton")
    assert scaled_by(client) == (2.0, "2"), "a start loads what is published"
    assert not left & set(copies.iterdir()), "a start removes what a killed server left"

    platform.kill("object_store")
    assert scaled_by(client) == (2.0, "2"), "loaded models need no object store"
    platform.start("object_store")
    publish(3)
    client.load("scale")
    assert scaled_by(client) == (3.0, "3")


def test_a_version_that_was_uploaded_in_part_is_never_served(publish, client):
    publish(5)
    client.load("scale")
    for uploads in range(20):
        try:
            publish(6, killed_after=uploads)
        except Killed:
            client.load("scale")
            assert scaled_by(client) == (5.0, "5"), f"killed after {uploads} uploads"
        else:
            break
    assert uploads >= 4
    client.load("scale")
    assert scaled_by(client) == (6.0, "6")


def test_secrets_are_on_no_command_line(platform):
    settings = platform.settings()
    pid = next(part.pid for part in platform.status() if part.name == "triton")
    server = psutil.Process(pid)
    shown = " ".join([*server.cmdline(), *command_lines(server.children()).values()])
    assert "--model-repository=s3://http://127.0.0.1:" in shown
    assert settings.s3_secret_key.get_secret_value() not in shown
    assert settings.s3_access_key.get_secret_value() not in shown
