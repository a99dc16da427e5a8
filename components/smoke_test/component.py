"""A gate: the live challenger gives the answers that its file gives."""

import os

from kfp import dsl

IMAGE = os.environ.get("PATHCAST_TRAIN_IMAGE", "pathcast-train:0.1.0")


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def smoke_test(
    family: str,
    version: int,
    served_as: str,
    exported: dsl.Input[dsl.Model],
    dataset: dsl.Input[dsl.Dataset],
) -> bool:
    """Record the verdict with the version; whether it passed. `served_as` orders this after the deployment."""
    from pathlib import Path

    from pathcast.core.settings import load_settings
    from pathcast.training.lifecycle import smoke_test

    verdict = smoke_test(load_settings(), family, version, Path(exported.path), Path(dataset.path))
    print(f"smoke test of {served_as}: {verdict.reason}")
    return verdict.passed
