from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as triton

from pathcast.core.errors import InvalidInputError
from pathcast.export.gpu_config import ENGINES, gpu_config
from pathcast.export.triton_config import serving_one

MODELS = Path(__file__).parents[3] / "model_repo"


def parsed(text: str) -> triton.ModelConfig:
    return text_format.Parse(text, triton.ModelConfig())


def test_the_same_model_with_tensorrt_in_front() -> None:
    served = serving_one((MODELS / "forecaster" / "config.pbtxt").read_text(), "forecaster", 7)
    config, own = parsed(gpu_config(served)), parsed(served)
    (accelerator,) = config.optimization.execution_accelerators.gpu_execution_accelerator
    assert accelerator.name == "tensorrt"
    options = dict(accelerator.parameters)
    assert options["trt_engine_cache_enable"] == "1"
    assert options["trt_engine_cache_path"] == ENGINES
    assert options["trt_profile_min_shapes"] == "neighbours:1x8x5,observed:1x8x2"
    largest = own.max_batch_size
    assert options["trt_profile_max_shapes"] == f"neighbours:{largest}x8x5,observed:{largest}x8x2"
    assert [group.kind for group in config.instance_group] == [triton.ModelInstanceGroup.KIND_GPU]
    assert config.model_warmup
    config.ClearField("optimization")
    for group in config.instance_group:
        group.ClearField("kind")
    assert config == own


@pytest.mark.parametrize("other", [("forecaster", 8), ("forecaster_challenger", 7)])
def test_engines_of_other_weights_are_never_taken(other: tuple[str, int]) -> None:
    text = (MODELS / "forecaster" / "config.pbtxt").read_text()

    def prefix(model: str, version: int) -> str:
        (tensorrt,) = parsed(
            gpu_config(serving_one(text, model, version))
        ).optimization.execution_accelerators.gpu_execution_accelerator
        return tensorrt.parameters["trt_engine_cache_prefix"]

    assert prefix("forecaster", 7) != prefix(*other)


def test_a_model_may_ask_for_half_precision() -> None:
    own = (MODELS / "detector" / "config.pbtxt").read_text()
    asking = own + 'parameters { key: "gpu_precision" value { string_value: "FP16" } }\n'
    found = []
    for text in (own, asking):
        (tensorrt,) = parsed(gpu_config(text)).optimization.execution_accelerators.gpu_execution_accelerator
        found.append((tensorrt.parameters["precision_mode"], tensorrt.parameters["trt_engine_cache_prefix"][-5:]))
    assert found == [("FP32", "-fp32"), ("FP16", "-fp16")]
    with pytest.raises(InvalidInputError, match="gpu_precision: expected FP32 or FP16, got 'INT4'"):
        gpu_config(asking.replace("FP16", "INT4"))


def test_inputs_of_free_size_get_no_profile() -> None:
    text = (MODELS / "forecaster" / "config.pbtxt").read_text().replace("dims: 8", "dims: -1", 1)
    (tensorrt,) = parsed(gpu_config(text)).optimization.execution_accelerators.gpu_execution_accelerator
    assert not [name for name in tensorrt.parameters if "profile" in name]


def test_models_that_are_not_onnx_are_served_as_they_are() -> None:
    assert gpu_config((MODELS / "mot" / "config.pbtxt").read_text()) is None


def test_other_texts_are_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"config\.pbtxt"):
        gpu_config("name: [")
