"""What a search found: best settings, plots, runs in MLflow."""

import os

from kfp import dsl

IMAGE = os.environ.get("PATHCAST_TRAIN_IMAGE", "pathcast-train:0.1.0")


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def report_search(
    family: str,
    dataset: dsl.Input[dsl.Dataset],
    fixed: dict,  # type: ignore[type-arg]
    estimate: dsl.Input[dsl.Metrics],
    ran: list,  # type: ignore[type-arg]
    found: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
) -> dict:  # type: ignore[type-arg]
    """Write best.json and plots into `found`; the same as best.json, and what each worker ran."""
    from pathlib import Path

    from pathcast.core.settings import load_settings
    from pathcast.training.search_steps import find_search, report_search

    search = find_search(family, Path(dataset.path), fixed, 0)
    figures = {key: float(value) for key, value in estimate.metadata.items() if key.startswith("estimate_")}
    name = str(estimate.metadata["search"])
    summary = report_search(load_settings(), search, name, Path(found.path), figures) | {"ran": ran}
    metrics.log_metric(f"best_{summary['objective']}", summary["best"])
    return summary
