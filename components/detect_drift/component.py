"""Whether the world or the model's work has changed, by the family's own definition of bad performance."""

import os

from kfp import dsl

IMAGE = os.environ.get("PATHCAST_TRAIN_IMAGE", "pathcast-train:0.1.0")


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def detect_drift(
    family: str,
    cameras: list,  # type: ignore[type-arg]
    window_minutes: float,
    report: dsl.Output[dsl.HTML],
    findings: dsl.Output[dsl.Metrics],
    force: bool = False,
) -> bool:
    """Check the window of that length (0: the family's own) that ends now at `cameras` (none: all).

    True where a signal alarms, or where `force` says that a better model is wanted all the same.
    """
    from datetime import timedelta
    from pathlib import Path

    from pathcast.core.settings import load_settings
    from pathcast.monitoring.report import write_report
    from pathcast.training.drift import check_family

    window = timedelta(minutes=window_minutes) if window_minutes else None
    check = check_family(load_settings(), family, cameras, window=window)
    write_report(check.compared, Path(report.path))
    for finding in check.findings:
        if finding.judgement.distance is not None:
            findings.log_metric(f"{finding.signal} {finding.camera_id}", finding.judgement.distance)
    findings.metadata.update(alarm=check.alarm, reasons=check.reasons)
    return check.alarm or force
