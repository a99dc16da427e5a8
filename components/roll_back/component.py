"""The end of every run, good or bad: the champion serves, nothing is left on trial, a failure is kept."""

import os

from kfp import dsl

IMAGE = os.environ.get("PATHCAST_TRAIN_IMAGE", "pathcast-train:0.1.0")


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def roll_back(family: str, run: str, status: dsl.PipelineTaskFinalStatus) -> str:
    """Make Triton serve the registry's champion and end the trial; the champion's version, or nothing."""
    from pathcast.core.settings import load_settings
    from pathcast.training.ending import finish

    failed = status.state not in ("SUCCEEDED", "SUCCESS")
    reason = f"{status.error_code or status.state}: {status.error_message or 'see the log of the run'}"
    name = status.pipeline_job_resource_name
    champion = finish(load_settings(), family, name, reason if failed else None, run=run)
    return "" if champion is None else str(champion)
