"""`config.pbtxt`: how Triton serves an ONNX file, written from the file and checked against it.

Triton's model configuration: https://docs.nvidia.com/deeplearning/triton-inference-server/, "Model Configuration".
The text names the backend `onnxruntime` and no device, so a GPU server and a CPU server take it as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import onnx
from google.protobuf import text_format  # type: ignore[import-untyped]
from onnx import TensorProto
from tritonclient.grpc import model_config_pb2 as triton

from pathcast.core.errors import GateFailedError, InvalidInputError

BACKEND = "onnxruntime"
ENSEMBLE = "ensemble"
"""The platform of a configuration that joins other models (`pathcast.export.ensemble`)."""

MAX_BATCH_SIZE = 8

_TRITON_TYPES: Mapping[int, str] = {
    TensorProto.BOOL: "TYPE_BOOL",
    TensorProto.UINT8: "TYPE_UINT8",
    TensorProto.UINT16: "TYPE_UINT16",
    TensorProto.UINT32: "TYPE_UINT32",
    TensorProto.UINT64: "TYPE_UINT64",
    TensorProto.INT8: "TYPE_INT8",
    TensorProto.INT16: "TYPE_INT16",
    TensorProto.INT32: "TYPE_INT32",
    TensorProto.INT64: "TYPE_INT64",
    TensorProto.FLOAT16: "TYPE_FP16",
    TensorProto.FLOAT: "TYPE_FP32",
    TensorProto.DOUBLE: "TYPE_FP64",
    TensorProto.STRING: "TYPE_STRING",
}


@dataclass(frozen=True, slots=True)
class ServingOptions:
    """How a model is served: requests are merged up to `max_batch_size`, never waiting for each other.

    `instances` copies run at once, each on `threads` CPU threads (0: one per core; a GPU ignores it).
    `parameters` are facts for clients, such as class names.
    """

    max_batch_size: int = MAX_BATCH_SIZE
    instances: int = 1
    threads: int = 0
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Tensor:
    name: str
    data_type: str
    dims: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.name} {self.data_type} {list(self.dims)}"


def render_config(model: str, onnx_path: Path, options: ServingOptions | None = None) -> str:
    """The `config.pbtxt` of `model`; inputs and outputs are the file's, without their batch axis.

    Raises InvalidInputError where the file cannot be read, or a tensor of it has no batch axis of free size.
    """
    settings = options or ServingOptions()
    inputs, outputs = _signature(onnx_path)
    config = triton.ModelConfig(name=model, backend=BACKEND, max_batch_size=settings.max_batch_size)
    for tensor in inputs:
        config.input.add(name=tensor.name, data_type=triton.DataType.Value(tensor.data_type), dims=tensor.dims)
    for tensor in outputs:
        config.output.add(name=tensor.name, data_type=triton.DataType.Value(tensor.data_type), dims=tensor.dims)
    config.instance_group.add(count=settings.instances)
    config.dynamic_batching.SetInParent()
    warmup = config.model_warmup.add(name="zeros", batch_size=1)
    for tensor in inputs:
        example = warmup.inputs[tensor.name]
        example.data_type = triton.DataType.Value(tensor.data_type)
        example.dims.extend(max(size, 1) for size in tensor.dims)
        example.zero_data = True
    parameters = dict(settings.parameters)
    if settings.threads:
        parameters["intra_op_thread_count"] = str(settings.threads)
    for name, value in sorted(parameters.items()):
        config.parameters[name].string_value = value
    return str(text_format.MessageToString(config))


def check_config(config_pbtxt: str, onnx_path: Path) -> None:
    """Hold a configuration against the file that it is to serve.

    Raises InvalidInputError where the text is no model configuration, and GateFailedError, naming all of them,
    where backend, batching, names, types or sizes do not fit the file.
    """
    config = parse_config(config_pbtxt)
    faults: list[str] = []
    if config.backend != BACKEND and config.platform != ENSEMBLE:
        faults.append(f"backend: expected {BACKEND!r}, got {config.backend!r}")
    if config.max_batch_size < 1:
        faults.append(f"max_batch_size: expected 1 or more, got {config.max_batch_size}")
    if any(group.kind != triton.ModelInstanceGroup.KIND_AUTO for group in config.instance_group):
        faults.append("instance_group: expected no kind, so that servers with and without a GPU take it")
    for role, configured, actual in zip(
        ("input", "output"), (config.input, config.output), _signature(onnx_path), strict=True
    ):
        stated = [
            _Tensor(tensor.name, triton.DataType.Name(tensor.data_type), tuple(tensor.dims)) for tensor in configured
        ]
        if sorted(map(str, stated)) != sorted(map(str, actual)):
            faults.append(f"{role}: expected {_listed(actual)} of the file, got {_listed(stated)}")
    if faults:
        raise GateFailedError(
            f"config.pbtxt of model {config.name!r} does not fit {onnx_path}: {'; '.join(faults)}",
            hint="write it again from the file",
        )


def serving_one(config_pbtxt: str, model: str, version: int) -> str:
    """The same configuration under the name `model`, serving `version` alone whatever else lies beside it."""
    config = parse_config(config_pbtxt)
    config.name = model
    config.version_policy.specific.versions[:] = [version]
    return str(text_format.MessageToString(config))


def also_serving(config_pbtxt: str, versions: Iterable[int]) -> str:
    """The same configuration, serving those versions as well."""
    config = parse_config(config_pbtxt)
    specific = config.version_policy.specific.versions
    specific[:] = sorted({*specific, *versions})
    return str(text_format.MessageToString(config))


def parse_config(config_pbtxt: str) -> triton.ModelConfig:
    """The configuration that the text is; raises InvalidInputError where it is none."""
    try:
        return text_format.Parse(config_pbtxt, triton.ModelConfig())
    except text_format.ParseError as error:
        raise InvalidInputError(f"config.pbtxt: not a Triton model configuration: {error}") from error


def tensor_names(config_pbtxt: str) -> tuple[list[str], list[str]]:
    """The names of the configured model's inputs and outputs."""
    config = parse_config(config_pbtxt)
    return [each.name for each in config.input], [each.name for each in config.output]


def _signature(onnx_path: Path) -> tuple[list[_Tensor], list[_Tensor]]:
    try:
        graph = onnx.load(str(onnx_path), load_external_data=False).graph
    except Exception as error:  # onnx raises protobuf's errors, OSError and ValueError alike
        raise InvalidInputError(f"{onnx_path}: not a readable ONNX file: {error}") from error
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    return [_tensor(onnx_path, value) for value in inputs], [_tensor(onnx_path, value) for value in graph.output]


def _tensor(onnx_path: Path, value: onnx.ValueInfoProto) -> _Tensor:
    kind = value.type.tensor_type
    sizes = [size.dim_value if size.HasField("dim_value") else -1 for size in kind.shape.dim]
    if kind.elem_type not in _TRITON_TYPES or not sizes or sizes[0] != -1:
        raise InvalidInputError(
            f"{onnx_path}: tensor {value.name!r}: expected a type that Triton serves and a first axis of free size "
            f"for the batch, got {TensorProto.DataType.Name(kind.elem_type)} {sizes}",
            hint="export the model with a symbolic batch axis",
        )
    return _Tensor(value.name, _TRITON_TYPES[kind.elem_type], tuple(sizes[1:]))


def _listed(tensors: Iterable[_Tensor]) -> str:
    return ", ".join(map(str, tensors)) or "none"
