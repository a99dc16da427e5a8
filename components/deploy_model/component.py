"""A published version on trial: served beside the champion, under a name of its own."""

import os

from kfp import dsl

IMAGE = os.environ.get("PATHCAST_TRAIN_IMAGE", "pathcast-train:0.1.0")


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def deploy_model(family: str, version: int, run: str) -> str:
    """Serve the version on trial until `run` ends; the name that it is served under. Fails where a gate has failed."""
    from pathcast.core.settings import load_settings
    from pathcast.training.lifecycle import deploy_model

    return deploy_model(load_settings(), family, version, run)
