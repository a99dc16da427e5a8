"""The search for a family's settings, by workers that share one search: `pathcast pipeline run tune`."""

from kfp import dsl

from components.open_search.component import open_search
from components.prepare_dataset.component import prepare_dataset
from components.report_search.component import report_search
from components.run_trials.component import run_trials
from components.select_data.component import select_data
from pipelines.cluster import on_cluster


@dsl.pipeline(name="tune", description="Search settings by validation score: trials by parallel workers.")
def tune(
    family: str = "forecaster",
    cameras: list = [],  # type: ignore[type-arg]  # noqa: B006
    days: float = 7.0,
    selection: dict = {},  # type: ignore[type-arg]  # noqa: B006
    preparation: dict = {},  # type: ignore[type-arg]  # noqa: B006
    trials: int = 30,
    workers: int = 2,
    fixed: dict = {},  # type: ignore[type-arg]  # noqa: B006
    threads: int = 1,
    price: float = 0.0,
    gpus: str = "0",
    nodes: dict = {},  # type: ignore[type-arg]  # noqa: B006
) -> dict:  # type: ignore[type-arg]
    """Each worker runs its share of the trials and learns from all."""
    raw = on_cluster(select_data(family=family, cameras=cameras, days=days, options=selection))
    data = on_cluster(prepare_dataset(family=family, raw=raw.outputs["raw"], options=preparation))
    dataset = data.outputs["dataset"]
    opened = on_cluster(
        open_search(
            family=family, dataset=dataset, trials=trials, workers=workers, fixed=fixed, threads=threads, price=price
        ),
        gpus=gpus,
        nodes=nodes,
    )
    with dsl.ParallelFor(opened.outputs["Output"], name="workers") as item:
        run = run_trials(
            family=family,
            dataset=dataset,
            search=item.search,
            worker=item.worker,
            share=item.share,
            trials=trials,
            fixed=fixed,
            threads=threads,
        )
        on_cluster(run, gpus=gpus, nodes=nodes)
    report = report_search(
        family=family,
        dataset=dataset,
        fixed=fixed,
        estimate=opened.outputs["estimate"],
        ran=dsl.Collected(run.output),
    )
    return on_cluster(report).outputs["Output"]
