"""Raw data into training, validation and held-out parts, with a data card."""

import os

from kfp import dsl

IMAGE = os.environ.get("PATHCAST_TRAIN_IMAGE", "pathcast-train:0.1.0")


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def prepare_dataset(
    family: str,
    raw: dsl.Input[dsl.Dataset],
    options: dict,  # type: ignore[type-arg]
    dataset: dsl.Output[dsl.Dataset],
) -> str:
    """Write the parts into `dataset`; the version, which follows from the content."""
    from pathlib import Path

    from pathcast.training.lifecycle import prepare_dataset

    version = prepare_dataset(family, Path(raw.path), Path(dataset.path), options)
    dataset.metadata["version"] = version
    return version
