"""A gate: the exported file answers as the trained network does, on real samples."""

import os

from kfp import dsl

IMAGE = os.environ.get("PATHCAST_TRAIN_IMAGE", "pathcast-train:0.1.0")


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def check_parity(
    family: str,
    trained: dsl.Input[dsl.Model],
    exported: dsl.Input[dsl.Model],
    dataset: dsl.Input[dsl.Dataset],
    verdict: dsl.Output[dsl.Artifact],
) -> bool:
    """Write the verdict; whether it passed."""
    from pathlib import Path

    from pathcast.training.lifecycle import check_parity, write_verdict

    found = check_parity(family, Path(trained.path), Path(exported.path), Path(dataset.path))
    write_verdict(found, Path(verdict.path))
    verdict.metadata.update(passed=found.passed, reason=found.reason)
    return found.passed
