"""A search for settings: begun, or gone on with, and what it will take."""

import os

from kfp import dsl

IMAGE = os.environ.get("PATHCAST_TRAIN_IMAGE", "pathcast-train:0.1.0")


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def open_search(
    family: str,
    dataset: dsl.Input[dsl.Dataset],
    trials: int,
    workers: int,
    fixed: dict,  # type: ignore[type-arg]
    threads: int,
    price: float,
    estimate: dsl.Output[dsl.Metrics],
) -> list:  # type: ignore[type-arg]
    """Say which worker runs how many trials of which search, and what all of them take at the most."""
    from pathlib import Path

    from pathcast.core.settings import load_settings
    from pathcast.training.search_steps import find_search, open_search

    search = find_search(family, Path(dataset.path), fixed, threads)
    name, shares, figures = open_search(load_settings(), search, trials, workers, price)
    for metric, value in figures.items():
        estimate.log_metric(metric, value)
    estimate.metadata["search"] = name
    return [{"search": name, "worker": worker, "share": share} for worker, share in enumerate(shares)]
