"""What a run of `batch_inference` did, over all its videos."""

import os

from kfp import dsl

IMAGE = os.environ.get("PATHCAST_TRAIN_IMAGE", "pathcast-train:0.1.0")


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def report_batch(
    reports: list,  # type: ignore[type-arg]
    metrics: dsl.Output[dsl.Metrics],
) -> dict:  # type: ignore[type-arg]
    """The sums, and for each video where its results are."""
    frames = sum(int(report["frames"]) for report in reports)
    rows = sum(int(count) for report in reports for count in report["rows"].values())
    metrics.log_metric("frames", frames)
    metrics.log_metric("videos", len(reports))
    stored = {report["video"]: report["stored_at"] for report in reports}
    return {"videos": len(reports), "frames": frames, "rows": rows, "stored": stored}
