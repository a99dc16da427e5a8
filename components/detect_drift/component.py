"""Whether the world or the model's work has changed, who has to know, and whether that calls for a training."""

import os

from kfp import dsl

IMAGE = os.environ.get("PATHCAST_TRAIN_IMAGE", "pathcast-train:0.1.0")


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def detect_drift(
    family: str,
    cameras: list,  # type: ignore[type-arg]
    window_minutes: float,
    until: str,
    run: str,
    report: dsl.Output[dsl.HTML],
    findings: dsl.Output[dsl.Metrics],
    force: bool = False,
) -> bool:
    """Check the window of that length (0: the family's own) that ends at `until` (nothing: now), at `cameras` or all.

    True where `run` is to train: where a signal alarms and no other training is too near, or by `force`.
    """
    from datetime import datetime, timedelta
    from pathlib import Path

    from pathcast.core.settings import load_settings
    from pathcast.monitoring.report import write_report
    from pathcast.training.drift import detect_drift

    check, refusal = detect_drift(
        load_settings(),
        family,
        cameras,
        window=timedelta(minutes=window_minutes) if window_minutes else None,
        until=datetime.fromisoformat(until) if until else None,
        force=force,
        run=run,
    )
    write_report(check.compared, Path(report.path))
    for finding in check.findings:
        if finding.judgement.distance is not None:
            findings.log_metric(f"{finding.signal} {finding.camera_id}", finding.judgement.distance)
    findings.metadata.update(alarm=check.alarm, reasons=check.reasons, refusal=refusal or "")
    print(f"{family}: {'a training starts' if refusal is None else f'no training: {refusal}'}")
    return refusal is None
