"""The loop that keeps a model right: signs that it no longer is, a better one, and never none that serves."""

from kfp import dsl

from components.detect_drift.component import detect_drift
from components.roll_back.component import roll_back
from pipelines.cluster import on_cluster
from pipelines.improve_model import improve_model


@dsl.pipeline(
    name="continuous-training",
    description="Where drift or the forecasts' own error alarm, or by force: train, judge, try, replay, promote.",
)
def continuous_training(
    family: str = "forecaster",
    cameras: list = [],  # type: ignore[type-arg]  # noqa: B006
    force: bool = False,
    window_minutes: float = 0.0,
    until: str = "",
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
    """An alarm starts a training within the cool-down and the cap a day; `force` neither waits for one nor counts.

    Whatever happens, the last step leaves the champion serving.
    """
    last = on_cluster(roll_back(family=family, run=dsl.PIPELINE_JOB_ID_PLACEHOLDER))
    with dsl.ExitHandler(last, name="check-and-improve"):
        looked = detect_drift(
            family=family,
            cameras=cameras,
            window_minutes=window_minutes,
            until=until,
            run=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
            force=force,
        )
        drift = on_cluster(looked)
        with dsl.If(drift.outputs["Output"] == True, name="alarm"):  # noqa: E712
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
