"""A version in MLflow: signature, example, metrics, data card, commit, and what the gates said."""

import os

from kfp import dsl

IMAGE = os.environ.get("PATHCAST_TRAIN_IMAGE", "pathcast-train:0.1.0")


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def register_model(
    family: str,
    trained: dsl.Input[dsl.Model],
    exported: dsl.Input[dsl.Model],
    dataset: dsl.Input[dsl.Dataset],
    metrics: dsl.Input[dsl.Metrics],
    data_verdict: dsl.Input[dsl.Artifact],
    parity_verdict: dsl.Input[dsl.Artifact],
    metric_verdict: dsl.Input[dsl.Artifact],
    latency_verdict: dsl.Input[dsl.Artifact],
) -> int:
    """Register the model, whether or not it passed; its version."""
    from pathlib import Path

    from pathcast.core.settings import load_settings
    from pathcast.training.lifecycle import GATES, read_metrics, read_verdict, register_model

    verdicts = (data_verdict, parity_verdict, metric_verdict, latency_verdict)
    return register_model(
        load_settings(),
        family,
        Path(trained.path),
        Path(exported.path),
        Path(dataset.path),
        read_metrics(Path(metrics.path)),
        [read_verdict(Path(each.path)) for each in verdicts],
        gates=GATES,
    )
