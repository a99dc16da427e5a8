"""Inference on Triton over gRPC: checked inputs, shared memory on one host, and recovery from dead servers."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np
import tritonclient.grpc as triton
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

from pathcast.core.errors import InvalidInputError, ModelProcessEndedError, PathcastError, ServiceUnavailableError
from pathcast.serving.model_metadata import Inference, ModelMetadata, SequenceStep, random_sequence
from pathcast.serving.shared_regions import (
    NAME_PREFIX,
    SharedRegion,
    aligned,
    is_abandoned,
    remove_abandoned_regions,
)

SHARED_MEMORY_FROM_BYTES = 65_536
"""Smaller inputs go inside the message: registering and reading a region would cost more than it saves."""

_RETRYABLE = {
    "StatusCode.UNAVAILABLE",
    "StatusCode.DEADLINE_EXCEEDED",
    "StatusCode.CANCELLED",
    "StatusCode.RESOURCE_EXHAUSTED",
}
_INVALID = "StatusCode.INVALID_ARGUMENT"
_UNKNOWN_REGION = "Unable to find shared memory region"
_POLL_S = 0.05
_CONTROL_TIMEOUT_S = 10.0
_REPAIR_UNLOAD_S = 2.0
_CANARIES_PER_INSTANCE = 3
_LOCAL_POOL = ("grpc.use_local_subchannel_pool", 1)
"""Else a new channel takes over the connection of the one before it."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request but for its inputs."""

    model: str
    version: str
    timeout_s: float
    outputs: Sequence[str]
    sequence: SequenceStep | None


class TritonClient:
    """A client of one Triton server at `address` ("host:port" of its gRPC service). Threads may share it.

    With `shared_memory`, inputs of 64 KiB and more are written to memory that the server maps, which needs
    both on one host; without, everything travels in messages. The answers are the same.

    All methods raise `ServiceUnavailableError` when the server, or the model's process in it, does not answer
    in time or is not there (safe to retry; where the process has died, it is a `ModelProcessEndedError`, and `repair`
    has to come first), `InvalidInputError` for inputs that do not fit the model, and
    `PathcastError` for everything else the server refuses. After a restart of the server the client goes on
    by itself; models must be loaded again, since the server starts with none.

    Behind one address there may be several servers, one chosen for each connection: with `renew_after_s` requests
    go over a new one after that time, so that servers that were added get their share. Not for sequences, whose
    state is one server's, and not with shared memory; requests must be shorter than that time.
    """

    def __init__(
        self,
        address: str,
        *,
        shared_memory: bool = False,
        timeout_s: float = 30.0,
        load_timeout_s: float = 120.0,
        renew_after_s: float = math.inf,
    ) -> None:
        if shared_memory and renew_after_s < math.inf:
            raise ValueError("shared memory is registered with one server: its connection is not renewed")
        self.address = address
        self._timeout_s = timeout_s
        self._load_timeout_s = load_timeout_s
        self._renew_after_s = renew_after_s
        self._renewing = threading.Lock()
        self._connected_at = time.monotonic()
        self._client = self._retired = self._connect()
        self._metadata: dict[tuple[str, str], ModelMetadata] = {}
        self._broken: set[str] = set()
        self._regions = _RegionPool(self._client) if shared_memory else None

    def infer(
        self,
        model: str,
        inputs: Mapping[str, NDArray[Any]],
        *,
        version: str = "",
        timeout_s: float | None = None,
        optional: Collection[str] = (),
        outputs: Sequence[str] = (),
        sequence: SequenceStep | None = None,
    ) -> Inference:
        """Run `model` on `inputs`; `version` "" is the newest that the model's version policy serves.

        Inputs in `optional` may be left out (the server does not tell which those are). Without `outputs` all
        are asked for. A model that keeps state wants to know the `sequence`.
        """
        self._check_inputs(model, version, inputs, optional)
        how = _Asked(model, version, self._timeout_s if timeout_s is None else timeout_s, outputs, sequence)
        doing = f"inference with {_label(model, version)}"
        with self._errors(doing):
            try:
                if self._regions is None:
                    return self._infer_inline(how, inputs)
                return self._infer_shared(self._regions, how, inputs)
            except InferenceServerException as error:
                message = error.message() or ""
                if error.status() == _INVALID:
                    # A version with another signature may serve since it was asked for.
                    self._forget(model)
                # By its name: a model that calls another may tell of that one's process.
                if f"Stub process '{model}_" not in message:
                    raise
                self._broken.add(model)
                raise ModelProcessEndedError(
                    f"Triton at {self.address}, {doing}: the model's process has ended ({message})",
                    hint="`repair` unloads and loads the model",
                ) from error

    def metadata(self, model: str, version: str = "") -> ModelMetadata:
        """The signature of a loaded model, remembered until it is loaded or unloaded, or inputs of it are refused."""
        known = self._metadata.get((model, version))
        if known is None:
            with self._errors(f"the signature of {_label(model, version)}"):
                response = self._client.get_model_metadata(model, version, client_timeout=_CONTROL_TIMEOUT_S)
            known = self._metadata[model, version] = ModelMetadata.from_response(response)
        return known

    def server_ready(self) -> bool:
        """Whether the server answers that it is ready; False also when it can't be reached."""
        with suppress(InferenceServerException):
            return bool(self._client.is_server_ready(client_timeout=_CONTROL_TIMEOUT_S))
        return False

    def ready(self, model: str, version: str = "") -> bool:
        """Whether the server says that it serves the model.

        It says so even when the model's process is dead; `canary` finds that out.
        """
        with suppress(InferenceServerException):
            return bool(self._client.is_model_ready(model, version, client_timeout=_CONTROL_TIMEOUT_S))
        return False

    def wait_until_ready(self, model: str = "", timeout_s: float = 60.0) -> None:
        """Return once the model (or, without a name, the server) is ready; raise when the time is over."""
        end = time.monotonic() + timeout_s
        while not (self.ready(model) if model else self.server_ready()):
            if time.monotonic() > end:
                what = f"model {model}" if model else "the server"
                raise ServiceUnavailableError(
                    f"Triton at {self.address}: {what} was not ready within {timeout_s:g} s",
                    hint="look at the server's log; a model has to be loaded before it is ready",
                )
            time.sleep(_POLL_S)

    def load(self, model: str) -> None:
        """Load the model from the repository, or take up what changed there; returns when it serves."""
        with self._errors(f"loading {model}"):
            self._client.load_model(model, client_timeout=self._load_timeout_s)
        self._forget(model)
        self._broken.discard(model)

    def unload(self, model: str) -> None:
        """Stop serving the model; returns when its processes have ended. Unknown models raise nothing."""
        if not self._unloaded_within(model, self._load_timeout_s):
            raise ServiceUnavailableError(
                f"Triton at {self.address}: {model} was still there {self._load_timeout_s:g} s after unloading",
                hint="a request that a dead model process left open keeps it; `load` works all the same",
            )

    def canary(self, model: str, *, timeout_s: float = 10.0) -> bool:
        """Whether the model really answers, tried with requests of zeros.

        A model that answers "this input is wrong" is alive. Idle instances take requests more or less in turn,
        so a few times as many requests as instances are sent; the first dead one found costs a second.
        """
        try:
            inputs = {name: spec.zeros() for name, spec in self.metadata(model).inputs.items()}
            config = self._config(model)
            instances = max(1, sum(int(group.count) for group in config.instance_group))
            for _ in range(_CANARIES_PER_INSTANCE * instances):
                # Without a sequence of its own, a request would be refused before it reaches the model.
                own = SequenceStep(random_sequence(), start=True, end=True)
                with suppress(InvalidInputError):
                    self.infer(
                        model,
                        inputs,
                        timeout_s=timeout_s,
                        sequence=own if config.HasField("sequence_batching") else None,
                    )
        except ServiceUnavailableError:
            return False
        return True

    def repair(self, model: str) -> bool:
        """Replace the model's processes if one is dead; whether that was needed.

        The server never restarts a dead model process, although it says ready. A model is taken for broken if
        a request of this client met a dead process since the model was loaded, or if `canary` fails. Raises
        `ServiceUnavailableError` if the model still does not answer after unloading and loading.
        """
        if model not in self._broken and self.canary(model):
            return False
        # Requests that were sent to the dead process keep the old model open for ever; loading works beside it.
        self._unloaded_within(model, _REPAIR_UNLOAD_S)
        self.load(model)
        if not self.canary(model):
            raise ServiceUnavailableError(
                f"Triton at {self.address}: {model} does not answer, also after unloading and loading it",
                hint="look at the server's log",
            )
        return True

    def close(self) -> None:
        """Delete the shared memory and close the connection. Closing twice is allowed."""
        if self._regions is not None:
            self._regions.close()
        self._client.close()
        self._retired.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _connect(self) -> Any:
        return triton.InferenceServerClient(self.address, channel_args=[*_channel_options(self.address), _LOCAL_POOL])

    def _connection(self) -> Any:
        """The connection for a request. The one before it stays open for those under way until the next is made."""
        with self._renewing:
            now = time.monotonic()
            if now - self._connected_at >= self._renew_after_s:
                if self._retired is not self._client:
                    self._retired.close()
                self._retired, self._client, self._connected_at = self._client, self._connect(), now
            return self._client

    def _check_inputs(
        self, model: str, version: str, inputs: Mapping[str, NDArray[Any]], optional: Collection[str]
    ) -> None:
        if not self.metadata(model, version).accepts(inputs, optional):
            # Another client may have loaded a version with another signature since it was asked for.
            self._forget(model)
            self.metadata(model, version).check(inputs, optional)

    def _infer_inline(self, asked: _Asked, inputs: Mapping[str, NDArray[Any]]) -> Inference:
        specs = self.metadata(asked.model, asked.version).inputs
        tensors = []
        for name, array in inputs.items():
            tensors.append(triton.InferInput(name, array.shape, specs[name].datatype))
            tensors[-1].set_data_from_numpy(np.ascontiguousarray(array))
        return self._send(asked, tensors)

    def _infer_shared(self, pool: _RegionPool, asked: _Asked, inputs: Mapping[str, NDArray[Any]]) -> Inference:
        large = {name for name, array in inputs.items() if _goes_shared(array)}
        if not large:
            return self._infer_inline(asked, inputs)
        specs = self.metadata(asked.model, asked.version).inputs
        with pool.region(sum(aligned(inputs[name].nbytes) for name in large)) as region:
            tensors = []
            offset = 0
            for name, array in inputs.items():
                tensors.append(triton.InferInput(name, array.shape, specs[name].datatype))
                if name in large:
                    region.write(array, offset)
                    tensors[-1].set_shared_memory(region.name, array.nbytes, offset)
                    offset += aligned(array.nbytes)
                else:
                    tensors[-1].set_data_from_numpy(np.ascontiguousarray(array))
            try:
                return self._send(asked, tensors)
            except InferenceServerException as error:
                if _UNKNOWN_REGION not in (error.message() or ""):
                    raise
                # The server was restarted since the region was registered.
                pool.register(region)
                return self._send(asked, tensors)

    def _send(self, asked: _Asked, tensors: list[Any]) -> Inference:
        sequence = asked.sequence
        result = self._connection().infer(
            asked.model,
            tensors,
            model_version=asked.version,
            outputs=[triton.InferRequestedOutput(name) for name in asked.outputs] or None,
            client_timeout=asked.timeout_s,
            sequence_id=0 if sequence is None else sequence.number,
            sequence_start=sequence is not None and sequence.start,
            sequence_end=sequence is not None and sequence.end,
        )
        response = result.get_response()
        return Inference(
            {output.name: result.as_numpy(output.name) for output in response.outputs}, response.model_version
        )

    def _unloaded_within(self, model: str, limit_s: float) -> bool:
        self._forget(model)
        with self._errors(f"unloading {model}"):
            self._client.unload_model(model, client_timeout=_CONTROL_TIMEOUT_S)
            end = time.monotonic() + limit_s
            while any(state in ("UNLOADING", "READY") for state in self._states(model)):
                if time.monotonic() > end:
                    return False
                time.sleep(_POLL_S)
        return True

    def _states(self, model: str) -> list[str]:
        index = self._client.get_model_repository_index(client_timeout=_CONTROL_TIMEOUT_S)
        return [entry.state for entry in index.models if entry.name == model]

    def _config(self, model: str) -> Any:
        with self._errors(f"the configuration of {model}"):
            return self._client.get_model_config(model, client_timeout=_CONTROL_TIMEOUT_S).config

    def _forget(self, model: str) -> None:
        for key in [key for key in self._metadata if key[0] == model]:
            self._metadata.pop(key, None)

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        try:
            yield
        except InferenceServerException as error:
            raise self._translated(error, doing) from error

    def _translated(self, error: InferenceServerException, doing: str) -> PathcastError:
        status, message = error.status() or "", error.message() or ""
        where = f"Triton at {self.address}, {doing}: "
        if "no available versions" in message or "is not ready" in message or status == "StatusCode.NOT_FOUND":
            return ServiceUnavailableError(f"{where}{message}", hint="load the model first")
        if status in _RETRYABLE:
            return ServiceUnavailableError(
                f"{where}{status.removeprefix('StatusCode.')}: {message}",
                hint="check that the server runs (`pathcast status`), then try again",
            )
        if status == _INVALID:
            return InvalidInputError(f"{where}{message}")
        if "failed to poll" in message:
            return PathcastError(
                f"{where}{message}", hint="the model is not in the repository, or its object store does not answer"
            )
        return PathcastError(f"{where}{message}", hint="look at the server's log")


class _RegionPool:
    """Shared memory regions for the requests in flight: one a request, reused, replaced by larger ones as needed."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._free: list[SharedRegion] = []
        self._swept = False
        self._closed = False

    @contextmanager
    def region(self, byte_size: int) -> Iterator[SharedRegion]:
        """A registered region of at least `byte_size` bytes, this thread's own inside the block."""
        region = self._take(byte_size)
        try:
            yield region
        finally:
            with self._lock:
                keep = not self._closed
                if keep:
                    self._free.append(region)
            if not keep:
                self._drop(region)

    def register(self, region: SharedRegion) -> None:
        self._client.register_system_shared_memory(
            region.name, region.key, region.byte_size, client_timeout=_CONTROL_TIMEOUT_S
        )

    def close(self) -> None:
        with self._lock:
            self._closed = True
            regions, self._free = self._free, []
        for region in regions:
            self._drop(region)

    def _take(self, byte_size: int) -> SharedRegion:
        with self._lock:
            if self._closed:
                raise PathcastError("the Triton client is closed", hint="create a new client")
            region = self._free.pop() if self._free else None
            sweep, self._swept = not self._swept, True
        if sweep:
            self._remove_leftovers()
        if region is not None and region.byte_size >= byte_size:
            return region
        if region is not None:
            self._drop(region)
        region = SharedRegion(byte_size)
        try:
            self.register(region)
        except BaseException:
            region.close()
            raise
        return region

    def _drop(self, region: SharedRegion) -> None:
        region.close()
        # A server that is gone has no mapping left to give up.
        with suppress(InferenceServerException):
            self._client.unregister_system_shared_memory(region.name, client_timeout=_CONTROL_TIMEOUT_S)

    def _remove_leftovers(self) -> None:
        """Delete the regions of killed clients, and make the server unmap them: it would hold their memory."""
        remove_abandoned_regions()
        with suppress(InferenceServerException):
            status = self._client.get_system_shared_memory_status(client_timeout=_CONTROL_TIMEOUT_S)
            for name in status.regions:
                if name.startswith(NAME_PREFIX) and is_abandoned(name):
                    self._client.unregister_system_shared_memory(name, client_timeout=_CONTROL_TIMEOUT_S)


def _goes_shared(array: NDArray[Any]) -> bool:
    return array.nbytes >= SHARED_MEMORY_FROM_BYTES and not array.dtype.hasobject


def _label(model: str, version: str) -> str:
    return f"{model} version {version}" if version else model


def _channel_options(address: str) -> list[tuple[str, int]]:
    unlimited = -1
    options = [
        ("grpc.max_send_message_length", unlimited),
        ("grpc.max_receive_message_length", unlimited),
        # By default a client waits up to two minutes before it tries a restarted server again.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1000),
    ]
    if address.startswith(("127.0.0.1:", "localhost:")):
        options.append(("grpc.enable_http_proxy", 0))
    return options
