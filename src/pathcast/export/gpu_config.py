"""How a GPU server serves an ONNX model: the model's own configuration, with TensorRT in front.

Triton takes `configs/gpu.pbtxt` of a model instead of its `config.pbtxt` where it is started with
`--model-config-name=gpu`, and `config.pbtxt` where a model has no such file. The options are those of ONNX Runtime's
TensorRT execution provider, https://onnxruntime.ai/docs/execution-providers/TensorRT-ExecutionProvider.html, under
the names that https://github.com/triton-inference-server/onnxruntime_backend gives them.
"""

from __future__ import annotations

from google.protobuf import text_format  # type: ignore[import-untyped]
from tritonclient.grpc import model_config_pb2 as triton

from pathcast.core.errors import InvalidInputError
from pathcast.export.triton_config import BACKEND, parse_config

GPU_CONFIG = "configs/gpu.pbtxt"
ENGINES = "/engines"
"""Where the servers keep the engines that TensorRT builds; a volume."""

PRECISION = "gpu_precision"
"""The parameter in `config.pbtxt` by which a model asks for FP16; without it, FP32."""

_PRECISIONS = ("FP32", "FP16")
_WORKSPACE_BYTES = 2**31


def gpu_config(config_pbtxt: str) -> str | None:
    """The configuration for GPU servers; None for a model that is not ONNX, which is served as it is.

    Engines are kept under the served name and version, because TensorRT does not notice other weights in the same
    graph. One engine takes every batch size; it is built by the model's warmup, before it is ready. Arithmetic
    stays float32 (TF32 on the GPU), so that the answers are those that the gates have measured, unless the model's
    parameter `gpu_precision` is FP16: that is faster, and nobody has measured it before it serves.

    Raises InvalidInputError where the text is no model configuration, or asks for another precision.
    """
    config = parse_config(config_pbtxt)
    if config.backend != BACKEND:
        return None
    for group in config.instance_group:
        group.kind = triton.ModelInstanceGroup.KIND_GPU
    precision = config.parameters[PRECISION].string_value if PRECISION in config.parameters else _PRECISIONS[0]
    if precision not in _PRECISIONS:
        raise InvalidInputError(
            f"model {config.name}: parameter {PRECISION}: expected {' or '.join(_PRECISIONS)}, got {precision!r}"
        )
    version = "-".join(map(str, config.version_policy.specific.versions)) or "all"
    options = {
        "precision_mode": precision,
        "max_workspace_size_bytes": str(_WORKSPACE_BYTES),
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": ENGINES,
        "trt_engine_cache_prefix": f"{config.name}-{version}-{precision.lower()}",
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": ENGINES,
    }
    if all(size > 0 for tensor in config.input for size in tensor.dims):
        largest = max(config.max_batch_size, 1)
        for name, batch in (("min", 1), ("opt", largest), ("max", largest)):
            options[f"trt_profile_{name}_shapes"] = _shapes(config, batch)
    accelerator = config.optimization.execution_accelerators.gpu_execution_accelerator.add(name="tensorrt")
    accelerator.parameters.update(options)
    return str(text_format.MessageToString(config))


def asking_fp16(config_pbtxt: str) -> str:
    """The same configuration, asking servers with a GPU to compute in FP16."""
    config = parse_config(config_pbtxt)
    config.parameters[PRECISION].string_value = "FP16"
    return str(text_format.MessageToString(config))


def _shapes(config: triton.ModelConfig, batch: int) -> str:
    return ",".join(f"{tensor.name}:{'x'.join(map(str, [batch, *tensor.dims]))}" for tensor in config.input)
