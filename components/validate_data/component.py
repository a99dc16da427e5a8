"""A gate: enough to learn from, and enough to judge by."""

import os

from kfp import dsl

IMAGE = os.environ.get("PATHCAST_TRAIN_IMAGE", "pathcast-train:0.1.0")


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def validate_data(
    family: str,
    dataset: dsl.Input[dsl.Dataset],
    min_samples: int,
    verdict: dsl.Output[dsl.Artifact],
) -> bool:
    """Write the verdict; whether it passed."""
    from pathlib import Path

    from pathcast.core.settings import load_settings
    from pathcast.training.lifecycle import validate_data, write_verdict

    found = validate_data(load_settings(), family, Path(dataset.path), min_samples=min_samples)
    write_verdict(found, Path(verdict.path))
    verdict.metadata.update(passed=found.passed, reason=found.reason)
    return found.passed
