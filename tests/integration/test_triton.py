"""The real Triton server with our backend, and the client that survives what happens to both."""

import math
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import psutil
import pytest
from onnx import TensorProto, helper
from support.running import command_lines
from support.waiting import wait_for

from pathcast.core.errors import InvalidInputError, PathcastError, ServiceUnavailableError
from pathcast.local.ports import choose_ports
from pathcast.local.triton import TritonPorts, remove_leftover_memory, server_command
from pathcast.local.triton_install import install_triton
from pathcast.serving.shared_regions import NAME_PREFIX, SHARED_MEMORY_DIR
from pathcast.serving.triton_client import TritonClient

pytestmark = pytest.mark.integration

READY_LIMIT_S = 60
LARGE = (160, 160, 3)
"""75 KiB an image: large enough for shared memory."""


def save(folder: Path, version: int, graph: onnx.GraphProto) -> None:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    (folder / str(version)).mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / str(version) / "model.onnx")


def add_brightness(repository: Path, version: int, size: tuple[int, int, int] = LARGE) -> None:
    """`brightness`: the mean of an image of `size`, times the version's number."""
    nodes = [
        helper.make_node("Cast", ["images"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["real"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Mul", ["mean", "factor"], ["level"]),
        helper.make_node("Unsqueeze", ["level", "last"], ["brightness"]),
    ]
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", *size])
    brightness = helper.make_tensor_value_info("brightness", TensorProto.FLOAT, ["n", 1])
    constants = [
        helper.make_tensor("factor", TensorProto.FLOAT, [1], [version]),
        helper.make_tensor("last", TensorProto.INT64, [1], [1]),
    ]
    save(repository / "brightness", version, helper.make_graph(nodes, "g", [images], [brightness], constants))
    (repository / "brightness" / "config.pbtxt").write_text(
        f"""
        backend: "onnxruntime"
        max_batch_size: 8
        input {{ name: "images" data_type: TYPE_UINT8 dims: {list(size)} }}
        output {{ name: "brightness" data_type: TYPE_FP32 dims: [1] }}
        instance_group {{ count: 2 }}
        version_policy {{ all {{ }} }}
        dynamic_batching {{ }}
        parameters {{ key: "intra_op_thread_count" value {{ string_value: "1" }} }}
        model_warmup {{
          name: "zeros" batch_size: 1
          inputs {{ key: "images" value {{ data_type: TYPE_UINT8 dims: {list(size)} zero_data: true }} }}
        }}
        """
    )


def add_lookup(repository: Path) -> None:
    """`lookup`: ten times the index, for indices 0 to 9; others make the run fail."""
    nodes = [helper.make_node("Gather", ["table", "index"], ["value"], axis=0)]
    index = helper.make_tensor_value_info("index", TensorProto.INT64, ["n", "k"])
    value = helper.make_tensor_value_info("value", TensorProto.FLOAT, ["n", "k"])
    table = helper.make_tensor("table", TensorProto.FLOAT, [10], [10.0 * row for row in range(10)])
    save(repository / "lookup", 1, helper.make_graph(nodes, "g", [index], [value], [table]))
    (repository / "lookup" / "config.pbtxt").write_text(
        """
        backend: "onnxruntime"
        max_batch_size: 16
        input { name: "index" data_type: TYPE_INT64 dims: [-1] }
        output { name: "value" data_type: TYPE_FP32 dims: [-1] }
        instance_group { count: 1 }
        dynamic_batching { max_queue_delay_microseconds: 200000 preferred_batch_size: [12] }
        """
    )


class Server:
    """A Triton server of its own on a folder."""

    def __init__(self, repository: Path, log: Path) -> None:
        self.prefix = f"pathcast_test_{os.getpid()}_{id(self)}_"
        self._repository, self._log = repository, log
        self._ports = TritonPorts(**choose_ports(["grpc", "http", "metrics"], {}))
        self.address = f"127.0.0.1:{self._ports.grpc}"
        self.start()

    def start(self) -> None:
        remove_leftover_memory(self.prefix)
        command = server_command(install_triton(), self._ports, self._repository, shared_memory_prefix=self.prefix)
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(command.argv, env=command.env, stdout=log, stderr=log)
        with TritonClient(self.address) as client:
            try:
                client.wait_until_ready(timeout_s=READY_LIMIT_S)
            except ServiceUnavailableError:
                raise AssertionError(self._log.read_text()) from None

    def model_processes(self, model: str) -> list[psutil.Process]:
        """Those of the model, the newest last."""
        lines = command_lines(psutil.Process(self.process.pid).children())
        return sorted((child for child, line in lines.items() if f"/{model}/" in line), key=psutil.Process.create_time)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        children = psutil.Process(self.process.pid).children(recursive=True)
        self.process.send_signal(number)
        try:
            self.process.wait(40)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        _, alive = psutil.wait_procs(children, timeout=20)
        remove_leftover_memory(self.prefix)
        assert alive == []


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    folder = tmp_path_factory.mktemp("repository")
    add_brightness(folder, 1)
    add_lookup(folder)
    return folder


@pytest.fixture(scope="module")
def server(repository, tmp_path_factory):
    server = Server(repository, tmp_path_factory.mktemp("log") / "triton.log")
    yield server
    server.stop()


@pytest.fixture(params=[False, True], ids=["inline", "shared-memory"])
def client(request, server):
    with TritonClient(server.address, shared_memory=request.param) as client:
        client.load("brightness")
        client.load("lookup")
        yield client


@pytest.fixture
def images():
    return np.random.default_rng(7).integers(0, 256, (3, *LARGE), dtype=np.uint8)


def brightness_of(images, version=1):
    return (version * images.mean(axis=(1, 2, 3)))[:, None].astype(np.float32)


def own_regions():
    return {path.name for path in SHARED_MEMORY_DIR.glob(f"{NAME_PREFIX}{os.getpid()}-*")}


def test_answers_are_those_of_the_model(client, images):
    answer = client.infer("brightness", {"images": images})
    assert answer.model_version == "1"
    np.testing.assert_allclose(answer.outputs["brightness"], brightness_of(images), rtol=1e-5)


def test_inputs_that_are_not_contiguous_arrive_as_they_look(client, images):
    turned = images.transpose(0, 2, 1, 3)[::-1]
    answer = client.infer("brightness", {"images": turned})
    np.testing.assert_allclose(answer.outputs["brightness"], brightness_of(turned), rtol=1e-5)
    index = np.arange(6).reshape(2, 3).T
    assert client.infer("lookup", {"index": index}).outputs["value"].tolist() == (10.0 * index).tolist()


def test_the_signature_is_known(client):
    metadata = client.metadata("brightness")
    assert metadata.inputs["images"].shape == (-1, *LARGE)
    assert metadata.outputs["brightness"].datatype == "FP32"


@pytest.mark.parametrize(
    ("shape", "dtype", "message"),
    [
        ((1, 100, 160, 3), np.uint8, r"expected UINT8 \[n, 160, 160, 3\], got uint8 \[1, 100, 160, 3\]"),
        (LARGE, np.uint8, r"got uint8 \[160, 160, 3\]"),
        ((1, *LARGE), np.float32, "got float32"),
        ((9, *LARGE), np.uint8, "batch-size must be <= 8"),
    ],
)
def test_wrong_inputs_are_refused_with_what_was_expected(client, shape, dtype, message):
    with pytest.raises(InvalidInputError, match=message):
        client.infer("brightness", {"images": np.zeros(shape, dtype)})


def test_a_failing_request_leaves_those_in_its_batch_alone(client):
    def ask(index):
        try:
            return client.infer("lookup", {"index": np.array([[index]])}).outputs["value"].item()
        except PathcastError as error:
            return str(error)

    before = client.metadata("lookup")
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(ask, [0, 1, 2, 99, 3, 4, 5, 6, 7, 8, 9, 9]))
    good = answers[:3] + answers[4:]
    assert good == [0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 90.0]
    assert "the model failed on this input" in answers[3]
    assert "99" in answers[3]
    assert client.metadata("lookup") == before


def test_requests_of_several_clients_are_run_together_and_not_mixed_up(server):
    def ask(number):
        with TritonClient(server.address, shared_memory=number % 2 == 0) as client:
            index = np.full((1, 2), number % 10)
            picture = np.full((1, *LARGE), number, np.uint8)
            answers = [
                (
                    client.infer("lookup", {"index": index}).outputs["value"].tolist(),
                    client.infer("brightness", {"images": picture}).outputs["brightness"].item(),
                )
                for _ in range(3)
            ]
        return answers == [([[10.0 * (number % 10)] * 2], float(number))] * 3

    with TritonClient(server.address) as client:
        client.load("lookup")
        client.load("brightness")
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(8)))


def test_unknown_models_are_told_from_broken_ones(client, repository):
    with pytest.raises(ServiceUnavailableError, match="load the model first"):
        client.infer("nobody", {})
    with pytest.raises(PathcastError, match="nobody"):
        client.load("nobody")
    assert not client.ready("nobody")
    client.unload("nobody")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("TYPE_FP32", "TYPE_FP64", "output value is TYPE_FP64 in config.pbtxt, TYPE_FP32 in the ONNX file"),
        (
            '"index"',
            '"indices"',
            r"inputs of config.pbtxt \['indices'\] differ from those of the ONNX file \['index'\]",
        ),
        ("count: 1", "count: 1 kind: KIND_GPU", "GPU"),
    ],
)
def test_a_config_that_does_not_fit_the_file_is_refused_at_loading(server, repository, old, new, message):
    add_lookup(repository)
    config = (repository / "lookup" / "config.pbtxt").read_text()
    broken = repository / "broken"
    (broken / "1").mkdir(parents=True, exist_ok=True)
    (broken / "1" / "model.onnx").write_bytes((repository / "lookup" / "1" / "model.onnx").read_bytes())
    (broken / "config.pbtxt").write_text(config.replace(old, new))
    with TritonClient(server.address) as client, pytest.raises(PathcastError, match=message):
        client.load("broken")


def test_a_file_that_is_no_model_is_refused_at_loading(server, repository):
    folder = repository / "garbage"
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "model.onnx").write_bytes(b"not a model")
    (folder / "config.pbtxt").write_text((repository / "lookup" / "config.pbtxt").read_text())
    with TritonClient(server.address) as client:
        with pytest.raises(PathcastError, match="garbage"):
            client.load("garbage")
        assert not client.ready("garbage")


def test_versions_are_served_side_by_side_and_the_newest_by_default(client, repository, images):
    add_brightness(repository, 2)
    client.load("brightness")
    assert set(client.metadata("brightness").versions) == {"1", "2"}
    newest = client.infer("brightness", {"images": images})
    assert newest.model_version == "2"
    np.testing.assert_allclose(newest.outputs["brightness"], brightness_of(images, 2), rtol=1e-5)
    oldest = client.infer("brightness", {"images": images}, version="1")
    assert oldest.model_version == "1"
    np.testing.assert_allclose(oldest.outputs["brightness"], brightness_of(images), rtol=1e-5)
    with pytest.raises(ServiceUnavailableError, match="version 7"):
        client.infer("brightness", {"images": images}, version="7")
    for file in (repository / "brightness" / "2").iterdir():
        file.unlink()
    (repository / "brightness" / "2").rmdir()
    client.load("brightness")
    assert client.infer("brightness", {"images": images}).model_version == "1"


def test_a_version_of_another_size_is_learned_of(client, repository, images, server):
    client.infer("brightness", {"images": images})
    larger = (192, 160, 3)
    add_brightness(repository, 1, larger)
    try:
        with TritonClient(server.address) as other:
            other.load("brightness")
        with pytest.raises(InvalidInputError, match="unexpected shape"):
            client.infer("brightness", {"images": images})
        assert client.metadata("brightness").inputs["images"].shape == (-1, *larger)
        client.infer("brightness", {"images": np.zeros((2, *larger), np.uint8)})
    finally:
        add_brightness(repository, 1)


def test_an_unloaded_model_is_gone_until_loaded_again(client, images, server):
    client.unload("brightness")
    assert not client.ready("brightness")
    wait_for(lambda: server.model_processes("brightness") == [], "its processes to end")
    with pytest.raises(ServiceUnavailableError):
        client.infer("brightness", {"images": images})
    client.load("brightness")
    client.wait_until_ready("brightness", timeout_s=10)
    client.infer("brightness", {"images": images})


def infer_until_it_fails(client, images):
    for _ in range(20):
        client.infer("brightness", {"images": images})


@pytest.mark.parametrize("dead", [1, 2])
def test_dead_model_processes_are_found_and_replaced(client, images, server, dead):
    assert client.repair("brightness") is False
    processes = server.model_processes("brightness")[-dead:]
    for process in processes:
        process.kill()
    assert client.ready("brightness"), "the server itself does not notice; if it does now, `repair` can go"
    with pytest.raises(ServiceUnavailableError, match="process has ended"):
        infer_until_it_fails(client, images)
    assert client.repair("brightness") is True
    assert client.canary("brightness") is True
    assert client.repair("brightness") is False
    infer_until_it_fails(client, images)


def test_a_connection_is_renewed_so_that_added_servers_get_their_share(server):
    def ports() -> set[int]:
        """The ports of this process' connections to the server."""
        open_now = psutil.Process().connections("tcp")
        return {each.laddr.port for each in open_now if each.raddr and f"127.0.0.1:{each.raddr.port}" == server.address}

    with TritonClient(server.address) as client:
        client.load("lookup")
        before = ports()
    used: list[set[int]] = []
    for age, connections in ((math.inf, 1), (0.0, 5)):
        seen: set[int] = set()
        with TritonClient(server.address, renew_after_s=age) as client:
            for number in range(5):
                assert client.infer("lookup", {"index": np.array([[number]])}).outputs["value"].item() == 10.0 * number
                seen |= ports() - before
                wait_for(lambda: len(ports() - before) <= 2, "all but the newest and the one before it to close")
        assert len(seen) >= connections
        used.append(seen)
    assert len(used[0]) == 1
    with pytest.raises(ValueError, match="shared memory"):
        TritonClient(server.address, shared_memory=True, renew_after_s=1.0)


def test_a_client_that_has_met_no_dead_process_finds_it_by_asking(server, images):
    with TritonClient(server.address) as client:
        client.load("lookup")
        for process in server.model_processes("lookup"):
            process.kill()
        assert client.canary("lookup") is False
        assert client.repair("lookup") is True
        assert client.infer("lookup", {"index": np.array([[3]])}).outputs["value"].item() == 30.0


def test_regions_grow_are_reused_and_are_deleted_at_the_end(server, images):
    assert own_regions() == set()
    with TritonClient(server.address, shared_memory=True) as client:
        client.load("brightness")
        client.load("lookup")
        client.infer("lookup", {"index": np.zeros((1, 1), np.int64)})
        assert own_regions() == set(), "small inputs need no shared memory"
        client.infer("brightness", {"images": images[:1]})
        (small,) = own_regions()
        client.infer("brightness", {"images": images[:1]})
        assert own_regions() == {small}
        client.infer("brightness", {"images": images})
        (large,) = own_regions()
        assert large != small
        client.infer("brightness", {"images": images[:1]})
        assert own_regions() == {large}
    assert own_regions() == set()
    assert registered(server) == set()


def registered(server):
    import tritonclient.grpc

    with tritonclient.grpc.InferenceServerClient(server.address) as client:
        return set(client.get_system_shared_memory_status().regions)


KILLED_CLIENT = """
import sys
import numpy as np
from pathcast.serving.triton_client import TritonClient
client = TritonClient(sys.argv[1], shared_memory=True)
client.infer("brightness", {"images": np.zeros((1, 160, 160, 3), np.uint8)})
print("done", flush=True)
sys.stdin.read()
"""


def test_what_a_killed_client_left_is_removed_by_the_next(server, images):
    with TritonClient(server.address) as client:
        client.load("brightness")
    victim = subprocess.Popen(
        [sys.executable, "-c", KILLED_CLIENT, server.address], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert victim.stdout.readline() == "done\n"
    finally:
        victim.kill()
        victim.communicate()
    left = {path.name for path in SHARED_MEMORY_DIR.glob(f"{NAME_PREFIX}{victim.pid}-*")}
    assert len(left) == 1
    assert registered(server) == left
    with TritonClient(server.address, shared_memory=True) as client:
        client.infer("brightness", {"images": images})
        assert not left & {path.name for path in SHARED_MEMORY_DIR.iterdir()}
        assert registered(server) == own_regions()


def test_a_client_outlives_its_server(repository, images, tmp_path):
    server = Server(repository, tmp_path / "triton.log")
    clients = [TritonClient(server.address, shared_memory=shared) for shared in (False, True)]
    try:
        clients[0].load("brightness")
        before = [client.infer("brightness", {"images": images}).outputs["brightness"] for client in clients]
        server.stop(signal.SIGKILL)
        for client in clients:
            assert not client.server_ready()
            with pytest.raises(ServiceUnavailableError, match="UNAVAILABLE"):
                client.infer("brightness", {"images": images})
        server.start()
        for client in clients:
            client.wait_until_ready(timeout_s=READY_LIMIT_S)
        with pytest.raises(ServiceUnavailableError, match="load the model first"):
            clients[1].infer("brightness", {"images": images})
        clients[0].load("brightness")
        after = [client.infer("brightness", {"images": images}).outputs["brightness"] for client in clients]
        np.testing.assert_array_equal(before, after)
    finally:
        for client in clients:
            client.close()
        server.stop()
    assert own_regions() == set()


def test_a_server_that_does_not_answer_is_given_up_in_time():
    ports = choose_ports(["silent"], {})
    with TritonClient(f"127.0.0.1:{ports['silent']}", timeout_s=1) as client:
        started = time.monotonic()
        assert not client.server_ready()
        with pytest.raises(ServiceUnavailableError):
            client.infer("brightness", {})
        with pytest.raises(ServiceUnavailableError, match="the server was not ready within 0.2 s"):
            client.wait_until_ready(timeout_s=0.2)
        assert time.monotonic() - started < 10
