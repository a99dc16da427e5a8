"""A registered version into the object store, in Triton's layout; nobody is served by it yet."""

import os

from kfp import dsl

IMAGE = os.environ.get("PATHCAST_TRAIN_IMAGE", "pathcast-train:0.1.0")


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def publish_model(family: str, version: int, exported: dsl.Input[dsl.Model]) -> str:
    """Store the version; the SHA-256 of its file."""
    from pathlib import Path

    from pathcast.core.settings import load_settings
    from pathcast.training.lifecycle import publish_model

    return publish_model(load_settings(), family, version, Path(exported.path))
