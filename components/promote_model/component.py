"""The challenger becomes the champion; no request fails."""

import os

from kfp import dsl

IMAGE = os.environ.get("PATHCAST_TRAIN_IMAGE", "pathcast-train:0.1.0")


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def promote_model(family: str, version: int) -> None:
    """Promote the version. Fails where a gate has not let it pass; the champion then serves on."""
    from pathcast.core.settings import load_settings
    from pathcast.training.lifecycle import promote_model

    promote_model(load_settings(), family, version)
