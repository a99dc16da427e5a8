"""Gates: better than the champion on the same held-out samples, and within its latency budget."""

import os

from kfp import dsl

IMAGE = os.environ.get("PATHCAST_TRAIN_IMAGE", "pathcast-train:0.1.0")


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def evaluate_model(
    family: str,
    exported: dsl.Input[dsl.Model],
    dataset: dsl.Input[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    metric_verdict: dsl.Output[dsl.Artifact],
    latency_verdict: dsl.Output[dsl.Artifact],
) -> bool:
    """Write the metrics and both verdicts; whether both passed."""
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from pathcast.core.settings import load_settings
    from pathcast.training.lifecycle import evaluate_model, write_metrics, write_verdict

    with TemporaryDirectory() as scratch:
        evaluation, verdicts = evaluate_model(
            load_settings(), family, Path(exported.path), Path(dataset.path), Path(scratch)
        )
    write_metrics(evaluation.metrics, Path(metrics.path))
    for name, value in evaluation.metrics.items():
        metrics.log_metric(name, float(value))
    for found, artifact in zip(verdicts, (metric_verdict, latency_verdict), strict=True):
        write_verdict(found, Path(artifact.path))
        artifact.metadata.update(passed=found.passed, reason=found.reason)
    return all(found.passed for found in verdicts)
