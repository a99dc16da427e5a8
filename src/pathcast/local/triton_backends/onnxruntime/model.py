"""ONNX models on CPU for the embedded Triton, under the name of Triton's native backend.

A `config.pbtxt` with `backend: "onnxruntime"` that a GPU Triton serves natively is served here unchanged. The
parameters of the native backend that matter on a CPU are read: `intra_op_thread_count`,
`inter_op_thread_count`, `execution_mode`, and `optimization { graph { level } }`.

Runs in Triton's model process, with numpy 1; nothing of Pathcast can be imported here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found]

_TRITON_TYPES = {
    "tensor(bool)": "TYPE_BOOL",
    "tensor(uint8)": "TYPE_UINT8",
    "tensor(uint16)": "TYPE_UINT16",
    "tensor(uint32)": "TYPE_UINT32",
    "tensor(uint64)": "TYPE_UINT64",
    "tensor(int8)": "TYPE_INT8",
    "tensor(int16)": "TYPE_INT16",
    "tensor(int32)": "TYPE_INT32",
    "tensor(int64)": "TYPE_INT64",
    "tensor(float16)": "TYPE_FP16",
    "tensor(float)": "TYPE_FP32",
    "tensor(double)": "TYPE_FP64",
    "tensor(string)": "TYPE_STRING",
}


class TritonPythonModel:
    """One instance of one version of an ONNX model."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open `<model>/<version>/model.onnx` and hold it against the config; Triton shows what is raised."""
        config = json.loads(args["model_config"])
        path = Path(args["model_repository"]) / args["model_version"] / _file_name(config)
        if not path.is_file():
            raise pb_utils.TritonModelException(
                f"{args['model_name']}: no file {path.name} in version {path.parent.name}"
            )
        self._session = onnxruntime.InferenceSession(
            str(path), sess_options=_session_options(config), providers=["CPUExecutionProvider"]
        )
        self._input_names = [tensor.name for tensor in self._session.get_inputs()]
        self._output_names = [tensor["name"] for tensor in config["output"]]
        self._batched = config["max_batch_size"] > 0
        _check_signature(args["model_name"], config, self._session)

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request; those of one shape are run together, and a failure stays with its request."""
        responses: list[Any] = [None] * len(requests)
        groups: dict[tuple[Any, ...], list[tuple[int, dict[str, np.ndarray]]]] = {}
        for index, request in enumerate(requests):
            feed = {name: pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in self._input_names}
            together = tuple(array.shape[1:] for array in feed.values()) if self._batched else (index,)
            groups.setdefault(together, []).append((index, feed))
        for members in groups.values():
            answers = self._run_group([feed for _, feed in members])
            for (index, _), answer in zip(members, answers, strict=True):
                responses[index] = self._response(requests[index], answer)
        return responses

    def finalize(self) -> None:
        del self._session

    def _run_group(self, feeds: list[dict[str, np.ndarray]]) -> list[list[np.ndarray] | Exception]:
        if len(feeds) == 1:
            return [self._run(feeds[0])]
        sizes = [len(feed[self._input_names[0]]) for feed in feeds]
        merged = self._run({name: np.concatenate([feed[name] for feed in feeds]) for name in self._input_names})
        if isinstance(merged, Exception) or any(len(output) != sum(sizes) for output in merged):
            # One of them may be at fault, or the model does not batch: run alone, each gets its own answer.
            return [self._run(feed) for feed in feeds]
        split = [np.split(output, np.cumsum(sizes)[:-1]) for output in merged]
        return [list(parts) for parts in zip(*split, strict=True)]

    def _run(self, feed: dict[str, np.ndarray]) -> list[np.ndarray] | Exception:
        try:
            outputs: list[np.ndarray] = self._session.run(self._output_names, feed)
        except Exception as error:  # onnxruntime's errors share no base class below Exception
            return error
        return outputs

    def _response(self, request: Any, answer: list[np.ndarray] | Exception) -> Any:
        if isinstance(answer, Exception):
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(f"the model failed on this input: {answer}"))
        wanted = set(request.requested_output_names())
        return pb_utils.InferenceResponse(
            [
                pb_utils.Tensor(name, array)
                for name, array in zip(self._output_names, answer, strict=True)
                if name in wanted
            ]
        )


def _file_name(config: dict[str, Any]) -> str:
    return str(config.get("default_model_filename") or "model.onnx")


def _parameter(config: dict[str, Any], name: str, default: str) -> str:
    return str(config.get("parameters", {}).get(name, {}).get("string_value", default))


def _session_options(config: dict[str, Any]) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(_parameter(config, "intra_op_thread_count", "0"))
    options.inter_op_num_threads = int(_parameter(config, "inter_op_thread_count", "0"))
    if _parameter(config, "execution_mode", "0") == "1":
        options.execution_mode = onnxruntime.ExecutionMode.ORT_PARALLEL
    level = config.get("optimization", {}).get("graph", {}).get("level", 0)
    levels = onnxruntime.GraphOptimizationLevel
    # As in the native backend: -1 basic, 1 extended, 2 none; anything else all.
    options.graph_optimization_level = {
        -1: levels.ORT_ENABLE_BASIC,
        1: levels.ORT_ENABLE_EXTENDED,
        2: levels.ORT_DISABLE_ALL,
    }.get(int(level), levels.ORT_ENABLE_ALL)
    # Threads wait awake for a request's next operator, which saves an eighth of the detector's time, and sleep once no
    # request runs: awake they would take the cores from the client and the other models.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return options


def _check_signature(model: str, config: dict[str, Any], session: Any) -> None:
    for kind, declared, actual in (
        ("input", config["input"], session.get_inputs()),
        ("output", config["output"], session.get_outputs()),
    ):
        types = {tensor.name: _TRITON_TYPES.get(tensor.type, tensor.type) for tensor in actual}
        names = {tensor["name"] for tensor in declared}
        unknown = sorted(names - set(types))
        missing = sorted(set(types) - names) if kind == "input" else []
        if unknown or missing:
            raise pb_utils.TritonModelException(
                f"{model}: {kind}s of config.pbtxt {sorted(names)} differ from those of the ONNX file {sorted(types)}"
            )
        for tensor in declared:
            if tensor["data_type"] != types[tensor["name"]]:
                raise pb_utils.TritonModelException(
                    f"{model}: {kind} {tensor['name']} is {tensor['data_type']} in config.pbtxt, "
                    f"{types[tensor['name']]} in the ONNX file"
                )
