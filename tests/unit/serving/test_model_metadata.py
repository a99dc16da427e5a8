"""Arrays are held against a model's signature before anything is sent."""

import numpy as np
import pytest
from tritonclient.grpc.service_pb2 import ModelMetadataResponse

from pathcast.core.errors import InvalidInputError
from pathcast.serving.model_metadata import ModelMetadata, TensorSpec

TENSOR = ModelMetadataResponse.TensorMetadata
METADATA = ModelMetadata.from_response(
    ModelMetadataResponse(
        name="detector",
        versions=["1", "3"],
        inputs=[
            TENSOR(name="images", datatype="UINT8", shape=[-1, 4, 6, 3]),
            TENSOR(name="scale", datatype="FP32", shape=[-1]),
        ],
        outputs=[TENSOR(name="boxes", datatype="FP32", shape=[-1, 100, 4])],
    )
)


def images(*shape, dtype=np.uint8):
    return np.zeros(shape, dtype)


def test_the_message_is_read():
    assert METADATA.name == "detector"
    assert METADATA.versions == ("1", "3")
    assert METADATA.inputs["images"] == TensorSpec("UINT8", (-1, 4, 6, 3))
    assert METADATA.outputs["boxes"].dtype == np.float32


@pytest.mark.parametrize("batch", [1, 8])
def test_fitting_inputs_pass(batch):
    inputs = {"scale": np.ones(batch, np.float32), "images": images(batch, 4, 6, 3)}
    assert METADATA.accepts(inputs)
    METADATA.check(inputs)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, r"expected the inputs \['images', 'scale'\], got \[\]"),
        ({"images": images(1, 4, 6, 3)}, r"got \['images'\]"),
        ({"images": images(1, 4, 5, 3)}, r"input images: expected UINT8 \[n, 4, 6, 3\], got uint8 \[1, 4, 5, 3\]"),
        ({"images": images(4, 6, 3)}, r"got uint8 \[4, 6, 3\]"),
        ({"images": images(1, 4, 6, 3, dtype=np.float32)}, r"got float32 \[1, 4, 6, 3\]"),
    ],
)
def test_misfits_are_named(inputs, message):
    if len(inputs) == 1 and "got ['images']" not in message.replace("\\", ""):
        inputs = inputs | {"scale": np.ones(1, np.float32)}
    assert not METADATA.accepts(inputs)
    with pytest.raises(InvalidInputError, match=message):
        METADATA.check(inputs)


def test_zeros_are_the_smallest_accepted_array():
    for spec in METADATA.inputs.values():
        assert spec.accepts(spec.zeros())
    assert METADATA.inputs["images"].zeros().shape == (1, 4, 6, 3)
