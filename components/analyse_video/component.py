"""One video of the object store, detected, tracked and forecast by the served models."""

import os

from kfp import dsl

IMAGE = os.environ.get("PATHCAST_TRAIN_IMAGE", "pathcast-train:0.1.0")


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def analyse_video(
    video: str,
    output: str,
    detector: str,
    fps: float,
    annotate: bool,
    metrics: dsl.Output[dsl.Metrics],
) -> dict:  # type: ignore[type-arg]
    """Write tables, report and, with `annotate`, a video to `output`/NAME; the report."""
    from pathcast.core.settings import load_settings
    from pathcast.serving.batch.stored import analyse_video

    report = analyse_video(load_settings(), video, output, detector=detector, fps=fps or None, annotate=annotate)
    for name in ("frames", "fps"):
        metrics.log_metric(name, float(report[name]))
    return report
