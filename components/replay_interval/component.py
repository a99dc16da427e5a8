"""A gate: what cameras recorded comes out of the analyzer no worse with the challenger than with the champion."""

import os

from kfp import dsl

IMAGE = os.environ.get("PATHCAST_TRAIN_IMAGE", "pathcast-train:0.1.0")


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def replay_interval(
    family: str,
    version: int,
    cameras: list,  # type: ignore[type-arg]
    minutes: float,
    verdict: dsl.Output[dsl.Artifact],
) -> bool:
    """Replay the last `minutes` of `cameras` (none: the busiest), record the verdict; whether it passed."""
    from pathlib import Path

    from pathcast.core.settings import load_settings
    from pathcast.training.lifecycle import write_verdict
    from pathcast.training.replay import replay_interval

    found = replay_interval(load_settings(), family, version, cameras, minutes)
    write_verdict(found, Path(verdict.path))
    verdict.metadata.update(passed=found.passed, reason=found.reason)
    return found.passed
