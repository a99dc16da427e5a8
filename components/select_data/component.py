"""Raw data of a family from what the platform has stored."""

import os

from kfp import dsl

IMAGE = os.environ.get("PATHCAST_TRAIN_IMAGE", "pathcast-train:0.1.0")


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def select_data(
    family: str,
    cameras: list,  # type: ignore[type-arg]
    days: float,
    options: dict,  # type: ignore[type-arg]
    raw: dsl.Output[dsl.Dataset],
) -> int:
    """Write the data of `cameras` (none: all) of the last `days` into `raw`; the number of samples."""
    from pathlib import Path

    from pathcast.core.settings import load_settings
    from pathcast.training.family import Selection
    from pathcast.training.lifecycle import select_data

    card = select_data(load_settings(), family, Path(raw.path), Selection(tuple(cameras), days, options))
    raw.metadata.update(samples=card["samples"])
    return int(card["samples"])
