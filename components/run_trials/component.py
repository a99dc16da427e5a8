"""One worker's share of a search: trials, each a training judged by its validation score."""

import os

from kfp import dsl

IMAGE = os.environ.get("PATHCAST_TRAIN_IMAGE", "pathcast-train:0.1.0")


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def run_trials(
    family: str,
    dataset: dsl.Input[dsl.Dataset],
    search: str,
    worker: int,
    share: int,
    trials: int,
    fixed: dict,  # type: ignore[type-arg]
    threads: int,
) -> int:
    """Run `share` trials beside the other workers of the search; how many it ran."""
    from pathlib import Path

    from pathcast.core.settings import load_settings
    from pathcast.training.search_steps import find_search, run_trials

    wanted = find_search(family, Path(dataset.path), fixed, threads)
    return run_trials(load_settings(), wanted, search, worker=worker, share=share, trials=trials)
