"""Ensembles in the repository: their parts are switched as one, while clients ask."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from pathcast.core.errors import PathcastError
from pathcast.core.settings import PlatformSettings
from pathcast.export.ensemble import CONFIG, ONNX_FILE, Part, write_ensemble
from pathcast.local.platform import Platform
from pathcast.registry.publishing import object_store, serve_version
from pathcast.registry.repository import ModelRepository
from pathcast.serving.triton_client import TritonClient

pytestmark = pytest.mark.integration

PARTS = (Part("scaled", ("x",), ("middle",)), Part("shifted", ("middle",), ("y",)))
ONE = {"x": np.ones((1, 3), np.float32)}


def whole(version: int, width: int = 3) -> onnx.ModelProto:
    """`y` = x times the version, plus 100 times the version: parts of two versions give a sum of neither."""
    x, middle, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", width]) for name in ("x", "middle", "y")
    )
    constants = [
        helper.make_tensor(name, TensorProto.FLOAT, [1], [value])
        for name, value in (("factor", version), ("shift", 100 * version))
    ]
    nodes = [helper.make_node("Mul", ["x", "factor"], ["middle"]), helper.make_node("Add", ["middle", "shift"], ["y"])]
    graph = helper.make_graph(nodes, "both", [x], [y], constants, value_info=[middle])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlatformSettings]:
    """The two parts of the platform that this is about."""
    platform = Platform(tmp_path_factory.mktemp("platform"))
    try:
        platform.start("object_store")
        platform.start("triton")
        yield platform.settings()
    finally:
        platform.down()


@pytest.fixture(scope="module")
def repository(settings: PlatformSettings, tmp_path_factory: pytest.TempPathFactory) -> ModelRepository:
    """With versions 1 to 3 of the model `both`."""
    repository = ModelRepository(object_store(settings), settings.models_bucket)
    for version in (1, 2, 3):
        folder = tmp_path_factory.mktemp("exported")
        write_ensemble("both", whole(version), PARTS, folder)
        config = (folder / CONFIG).read_text()
        repository.add("both", folder / ONNX_FILE, config, version=version, card="for a test")
    return repository


@pytest.fixture
def switch(settings: PlatformSettings, repository: ModelRepository) -> Iterator[Callable[..., None]]:
    with TritonClient(settings.triton_grpc) as client:

        def switch(version: int, under: str | None = None) -> None:
            serve_version([client], repository, "both", version, under=under)

        yield switch


def test_parts_are_switched_as_one_and_no_request_fails(
    settings: PlatformSettings, repository: ModelRepository, switch: Callable[..., None]
) -> None:
    switch(1)
    done, answers, failures = threading.Event(), set(), []

    def ask() -> None:
        with TritonClient(settings.triton_grpc) as client:
            while not done.is_set():
                try:
                    answers.add(float(client.infer("both", ONE).outputs["y"][0, 0]))
                except PathcastError as error:
                    failures.append(str(error))

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        for version in (2, 3, 1):
            switch(version)
    finally:
        done.set()
        asking.join()
    assert not failures
    assert answers == {101.0, 202.0, 303.0}
    assert [published.version for published in repository.versions("scaled")] == [1]


def test_a_challenger_has_parts_of_its_own(
    settings: PlatformSettings, repository: ModelRepository, switch: Callable[..., None]
) -> None:
    switch(2)
    switch(3, "both_challenger")
    with TritonClient(settings.triton_grpc) as client:
        assert client.infer("both", ONE).outputs["y"][0, 0] == 202
        assert client.infer("both_challenger", ONE).outputs["y"][0, 0] == 303
        assert client.infer("scaled", ONE, version="2").outputs["middle"][0, 0] == 2
    assert repository.parts("both_challenger") == ["scaled_challenger", "shifted_challenger"]


def test_a_version_of_another_signature_takes_over(
    settings: PlatformSettings, repository: ModelRepository, switch: Callable[..., None], tmp_path: Path
) -> None:
    write_ensemble("both", whole(4, width=5), PARTS, tmp_path)
    repository.add("both", tmp_path / ONNX_FILE, (tmp_path / CONFIG).read_text(), version=4, card="wider")
    switch(1)
    switch(4)
    with TritonClient(settings.triton_grpc) as client:
        answer = client.infer("both", {"x": np.ones((1, 5), np.float32)})
        assert (answer.model_version, answer.outputs["y"].tolist()) == ("4", [[404.0] * 5])
    switch(1)
    with TritonClient(settings.triton_grpc) as client:
        assert client.infer("both", ONE).outputs["y"][0, 0] == 101
