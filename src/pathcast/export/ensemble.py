"""One network as several served models: parts cut out of its ONNX graph, and a Triton ensemble that joins them.

Triton's ensembles: https://docs.nvidia.com/deeplearning/triton-inference-server/, "Ensemble Models". A version of such
a model is a folder like any other, with its parts beside:

    config.pbtxt    the ensemble, whose steps are the parts
    1/model.onnx    the whole network: what is judged, and what the live ensemble must answer like
    PART/config.pbtxt, PART/1/model.onnx

Tensors of one name are the same tensor, in the whole and in all parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf import text_format  # type: ignore[import-untyped]
from onnx.utils import Extractor

from pathcast.core.errors import InvalidInputError
from pathcast.export.onnx_file import save_onnx
from pathcast.export.triton_config import ENSEMBLE, ServingOptions, check_config, parse_config, render_config

CONFIG = "config.pbtxt"
ONNX_FILE = Path("1") / "model.onnx"


@dataclass(frozen=True, slots=True)
class Part:
    """A served model that computes `outputs` of the whole from `inputs`, by the names of the whole's tensors."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def write_ensemble(
    model: str, whole: onnx.ModelProto, parts: Sequence[Part], target: Path, options: ServingOptions | None = None
) -> None:
    """Write the folder of a model that is served as `parts`; `options` are those of each part."""
    settings = options or ServingOptions()
    for part in parts:
        file = target / part.name / ONNX_FILE
        save_onnx(cut(whole, part), file)
        config = render_config(part.name, file, settings)
        check_config(config, file)
        (target / part.name / CONFIG).write_text(config, encoding="utf-8")
    save_onnx(whole, target / ONNX_FILE)
    (target / CONFIG).write_text(_ensemble(model, parts, target, settings), encoding="utf-8")


def cut(whole: onnx.ModelProto, part: Part) -> onnx.ModelProto:
    """The part of the graph that computes the part's outputs from its inputs; its first axis stays free."""
    inferred = onnx.shape_inference.infer_shapes(whole)
    known = {value.name for value in (*inferred.graph.input, *inferred.graph.output, *inferred.graph.value_info)}
    if missing := sorted({*part.inputs, *part.outputs} - known):
        raise InvalidInputError(f"{part.name}: expected tensors of the whole model, it has no {', '.join(missing)}")
    found = Extractor(inferred).extract_model(list(part.inputs), list(part.outputs))
    found.graph.name = part.name
    found.ir_version, found.producer_name = whole.ir_version, whole.producer_name
    del found.graph.value_info[:]
    onnx.checker.check_model(found)
    return found


def check_folder(folder: Path) -> str:
    """Hold the configuration of an exported model, and of each of its parts, against the file beside it.

    Returns the configuration. Raises InvalidInputError, naming the file, where one is missing, and what `check_config`
    raises.
    """
    config = _checked(folder)
    for part in part_names(config):
        _checked(part_folder(folder, part))
    return config


def _checked(folder: Path) -> str:
    missing = [str(file) for file in (folder / CONFIG, folder / ONNX_FILE) if not file.is_file()]
    if missing:
        raise InvalidInputError(f"{folder.name}: expected {', '.join(missing)}")
    config = (folder / CONFIG).read_text(encoding="utf-8")
    check_config(config, folder / ONNX_FILE)
    return config


def part_names(config_pbtxt: str) -> list[str]:
    """The models that an ensemble's configuration names; none for any other model."""
    return [step.model_name for step in parse_config(config_pbtxt).ensemble_scheduling.step]


def part_folder(folder: Path, part: str) -> Path:
    """Where the part of a model in `folder` lies: in the folder, as exported, or beside it, as Triton wants it."""
    return folder / part if (folder / part).is_dir() else folder.parent / part


def joining(config_pbtxt: str, names: Sequence[str], version: int) -> str:
    """The same ensemble of parts that are served under other `names`, in the order of its steps, at that version."""
    config = parse_config(config_pbtxt)
    for step, name in zip(config.ensemble_scheduling.step, names, strict=True):
        step.model_name, step.model_version = name, version
    return str(text_format.MessageToString(config))


def _ensemble(model: str, parts: Sequence[Part], target: Path, options: ServingOptions) -> str:
    """Inputs and outputs as of the whole, steps as of the parts."""
    config = parse_config(render_config(model, target / ONNX_FILE, options))
    config.ClearField("backend")
    config.ClearField("instance_group")
    config.ClearField("dynamic_batching")
    config.ClearField("model_warmup")
    config.platform = ENSEMBLE
    for part in parts:
        step = config.ensemble_scheduling.step.add(model_name=part.name, model_version=-1)
        step.input_map.update({name: name for name in part.inputs})
        step.output_map.update({name: name for name in part.outputs})
    return str(text_format.MessageToString(config))
