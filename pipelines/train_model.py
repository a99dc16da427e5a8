"""From data to a promoted model, for any family: `pathcast pipeline run train_model`."""

from kfp import dsl

from components.roll_back.component import roll_back
from pipelines.cluster import on_cluster
from pipelines.improve_model import improve_model


@dsl.pipeline(
    name="train-model",
    description="Select, prepare, train, export, judge, register, publish, try beside the champion, replay, promote.",
)
def train_model(
    family: str = "forecaster",
    cameras: list = [],  # type: ignore[type-arg]  # noqa: B006
    days: float = 7.0,
    selection: dict = {},  # type: ignore[type-arg]  # noqa: B006
    preparation: dict = {},  # type: ignore[type-arg]  # noqa: B006
    min_samples: int = 200,
    start_from: str = "champion",
    training: dict = {},  # type: ignore[type-arg]  # noqa: B006
    workers: int = 1,
    launcher: str = "local",
    worker_gpus: int = 0,
    gpus: str = "0",
    nodes: dict = {},  # type: ignore[type-arg]  # noqa: B006
    replay_minutes: float = 10.0,
) -> None:
    """Whatever happens on the way, the last step leaves the registry's champion serving.

    On a cluster: `gpus` are those of the training step, where `launcher` is local, `worker_gpus` those of each worker
    of a job, and `nodes` the labels of the nodes that have them.
    """
    last = on_cluster(roll_back(family=family, run=dsl.PIPELINE_JOB_ID_PLACEHOLDER))
    with dsl.ExitHandler(last, name="train-and-promote"):
        improve_model(
            family=family,
            cameras=cameras,
            days=days,
            selection=selection,
            preparation=preparation,
            min_samples=min_samples,
            start_from=start_from,
            training=training,
            workers=workers,
            launcher=launcher,
            worker_gpus=worker_gpus,
            gpus=gpus,
            nodes=nodes,
            replay_minutes=replay_minutes,
        )
