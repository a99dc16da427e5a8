"""A trained model from prepared data, by N workers: local processes, a TFJob or a TrainJob."""

import os

from kfp import dsl

IMAGE = os.environ.get("PATHCAST_TRAIN_IMAGE", "pathcast-train:0.1.0")


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def train_model(
    family: str,
    dataset: dsl.Input[dsl.Dataset],
    start_from: str,
    changes: dict,  # type: ignore[type-arg]
    workers: int,
    launcher: str,
    worker_gpus: int,
    nodes: dict,  # type: ignore[type-arg]
    trained: dsl.Output[dsl.Model],
) -> None:
    """Train into `trained`; `start_from` is random, shipped or champion, `launcher` local, tfjob or trainjob."""
    from pathlib import Path

    from pathcast.core.settings import load_settings
    from pathcast.training.jobs import Crew
    from pathcast.training.lifecycle import train_model

    model = train_model(
        load_settings(),
        family,
        Path(dataset.path),
        Path(trained.path),
        start_from=start_from,
        changes=changes,
        crew=Crew(launcher, workers, worker_gpus, nodes),
    )
    trained.metadata.update({name: float(value) for name, value in model.record["val"].items()})
