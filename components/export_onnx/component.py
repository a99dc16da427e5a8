"""The trained network as an ONNX file with its Triton configuration and model card."""

import os

from kfp import dsl

IMAGE = os.environ.get("PATHCAST_TRAIN_IMAGE", "pathcast-train:0.1.0")


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def export_onnx(
    family: str,
    trained: dsl.Input[dsl.Model],
    dataset: dsl.Input[dsl.Dataset],
    exported: dsl.Output[dsl.Model],
) -> None:
    """Write config.pbtxt, README.md and 1/model.onnx into `exported`."""
    from pathlib import Path

    from pathcast.training.lifecycle import export_onnx

    differences = export_onnx(family, Path(trained.path), Path(dataset.path), Path(exported.path))
    exported.metadata.update({f"parity_{name}": float(value) for name, value in differences.items()})
