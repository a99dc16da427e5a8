"""Ensembles in the repository: their parts are switched as one, while clients ask."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from pathcast.core.errors import PathcastError, ServiceUnavailableError
from pathcast.core.settings import PlatformSettings
from pathcast.export.ensemble import CONFIG, ONNX_FILE, Part, write_ensemble
from pathcast.local.platform import Platform
from pathcast.registry.repository import ModelRepository
from pathcast.registry.switching import serve_version, take_away
from pathcast.serving.triton_client import TritonClient
from pathcast.storage.object_store import object_store

pytestmark = pytest.mark.integration

PARTS = (Part("scaled", ("x",), ("middle",)), Part("shifted", ("middle",), ("y",)))
ONE = {"x": np.ones((1, 3), np.float32)}


def whole(version: int, width: int = 3, hidden: str = "middle") -> onnx.ModelProto:
    """`y` = x times the version, plus 100 times the version: parts of two versions give a sum of neither."""
    x, middle, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", width]) for name in ("x", hidden, "y"))
    constants = [
        helper.make_tensor(name, TensorProto.FLOAT, [1], [value])
        for name, value in (("factor", version), ("shift", 100 * version))
    ]
    nodes = [helper.make_node("Mul", ["x", "factor"], [hidden]), helper.make_node("Add", [hidden, "shift"], ["y"])]
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


def asked_while(settings: PlatformSettings, work: Callable[[], object]) -> tuple[set[float], list[str]]:
    """What a client that asks all the time is answered, and what fails, while the work is done."""
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
        work()
    finally:
        done.set()
        asking.join()
    return answers, failures


def test_parts_are_switched_as_one_and_no_request_fails(
    settings: PlatformSettings, repository: ModelRepository, switch: Callable[..., None]
) -> None:
    switch(1)
    answers, failures = asked_while(settings, lambda: [switch(version) for version in (2, 3, 1)])
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


@pytest.fixture(scope="module")
def other_signatures(repository: ModelRepository, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Version 4 whose tensors are wider, and 5 and 6 whose parts alone have another signature."""
    for version, width, hidden in ((4, 5, "middle"), (5, 3, "inner"), (6, 3, "middle")):
        folder = tmp_path_factory.mktemp("exported")
        parts = (Part("scaled", ("x",), (hidden,)), Part("shifted", (hidden,), ("y",)))
        write_ensemble("both", whole(version, width, hidden), parts, folder)
        repository.add("both", folder / ONNX_FILE, (folder / CONFIG).read_text(), version=version, card="other")


@pytest.mark.usefixtures("other_signatures")
def test_a_version_of_another_signature_takes_over(settings: PlatformSettings, switch: Callable[..., None]) -> None:
    switch(1)
    switch(4)
    with TritonClient(settings.triton_grpc) as client:
        answer = client.infer("both", {"x": np.ones((1, 5), np.float32)})
        assert (answer.model_version, answer.outputs["y"].tolist()) == ("4", [[404.0] * 5])
    switch(1)
    with TritonClient(settings.triton_grpc) as client:
        assert client.infer("both", ONE).outputs["y"][0, 0] == 101


@pytest.mark.usefixtures("other_signatures")
def test_parts_of_another_signature_are_switched_without_a_failed_request(
    settings: PlatformSettings, repository: ModelRepository, switch: Callable[..., None]
) -> None:
    """In place, they would leave the live ensemble without its own for as long as a load takes."""
    switch(1)
    answers, failures = asked_while(settings, lambda: [switch(version) for version in (5, 6, 1)])
    assert not failures
    assert answers == {101.0, 505.0, 606.0}
    with TritonClient(settings.triton_grpc) as client:
        # The parts answer by their own names, and nothing is left of those that stood aside.
        assert client.infer("scaled", ONE, version="1").outputs["middle"][0, 0] == 1
        asides = [f"{part.name}_aside_{version}" for part in PARTS for version in (1, 5, 6)]
        assert not any(client.ready(name) for name in asides)
    assert not [name for name in repository.models() if "aside" in name]
    assert [published.version for published in repository.versions("scaled")] == [1]


@pytest.mark.usefixtures("other_signatures")
def test_a_version_with_a_part_that_does_not_load_leaves_the_live_ensemble_alone(
    settings: PlatformSettings, repository: ModelRepository, switch: Callable[..., None]
) -> None:
    switch(1)
    part = "triton/both/5/shifted/model.onnx"
    store = object_store(settings)
    good = store.get_object(settings.models_bucket, part).read()
    store.put_object(settings.models_bucket, part, io.BytesIO(b"broken"), 6)
    try:

        def fail_and_go_back() -> None:
            with pytest.raises(PathcastError):
                switch(5)
            switch(1)

        answers, failures = asked_while(settings, fail_and_go_back)
    finally:
        store.put_object(settings.models_bucket, part, io.BytesIO(good), len(good))
    assert (answers, failures) == ({101.0}, [])
    assert not [name for name in repository.models() if "aside" in name]


def test_a_trial_that_was_half_taken_away_is_taken_away_by_the_next(
    settings: PlatformSettings,
    repository: ModelRepository,
    switch: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    switch(2)
    switch(3, "both_challenger")
    served = ["both_challenger", "scaled_challenger", "shifted_challenger"]
    assert repository.served_under("both", "both_challenger") == served
    removed: list[str] = []

    def dies(model: str, version: int | None = None) -> None:
        removed.append(model)
        if len(removed) > 1:
            raise ServiceUnavailableError("the object store is away")
        ModelRepository.remove(repository, model, version)

    with TritonClient(settings.triton_grpc) as client:
        with monkeypatch.context() as patched:
            patched.setattr(repository, "remove", dies)
            with pytest.raises(ServiceUnavailableError):
                take_away([client], repository, served)
        # What is left names nothing that is gone.
        assert removed[0] == "both_challenger"
        assert repository.served_under("both", "both_challenger") == served[1:]
        assert not any(client.ready(name) for name in served)
        take_away([client], repository, repository.served_under("both", "both_challenger"))
        assert repository.served_under("both", "both_challenger") == []
        assert client.infer("both", ONE).outputs["y"][0, 0] == 202
