"""The videos below some addresses of the object store."""

import os

from kfp import dsl

IMAGE = os.environ.get("PATHCAST_TRAIN_IMAGE", "pathcast-train:0.1.0")


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def find_videos(
    sources: list,  # type: ignore[type-arg]
) -> list:  # type: ignore[type-arg]
    """One address for each video; a folder of images is one video."""
    from pathcast.core.settings import load_settings
    from pathcast.serving.batch.stored import find_videos

    return find_videos(load_settings(), sources)
