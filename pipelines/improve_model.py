"""The steps from stored data to a promoted model, which the pipelines share; a gate that fails ends them."""

from kfp import dsl

from components.check_parity.component import check_parity
from components.deploy_model.component import deploy_model
from components.evaluate_model.component import evaluate_model
from components.export_onnx.component import export_onnx
from components.prepare_dataset.component import prepare_dataset
from components.promote_model.component import promote_model
from components.publish_model.component import publish_model
from components.register_model.component import register_model
from components.replay_interval.component import replay_interval
from components.select_data.component import select_data
from components.smoke_test.component import smoke_test
from components.train_model.component import train_model as train
from components.validate_data.component import validate_data
from pipelines.cluster import on_cluster


@dsl.pipeline(
    name="improve-model",
    description="Select, prepare, train, export, judge, register, publish, try beside the champion, promote.",
)
def improve_model(
    family: str,
    cameras: list,  # type: ignore[type-arg]
    days: float,
    selection: dict,  # type: ignore[type-arg]
    preparation: dict,  # type: ignore[type-arg]
    min_samples: int,
    start_from: str,
    training: dict,  # type: ignore[type-arg]
    workers: int,
    launcher: str,
    worker_gpus: int,
    gpus: str,
    nodes: dict,  # type: ignore[type-arg]
    replay_minutes: float,
) -> None:
    """A part of a pipeline, whose last step is to make sure that a champion serves."""
    raw = on_cluster(select_data(family=family, cameras=cameras, days=days, options=selection))
    data = on_cluster(prepare_dataset(family=family, raw=raw.outputs["raw"], options=preparation))
    dataset = data.outputs["dataset"]
    valid = on_cluster(validate_data(family=family, dataset=dataset, min_samples=min_samples))
    with dsl.If(valid.outputs["Output"] == True, name="enough-data"):  # noqa: E712
        training_task = train(
            family=family,
            dataset=dataset,
            start_from=start_from,
            changes=training,
            workers=workers,
            launcher=launcher,
            worker_gpus=worker_gpus,
            nodes=nodes,
        )
        trained = on_cluster(training_task, gpus=gpus, nodes=nodes).outputs["trained"]
        exported = on_cluster(export_onnx(family=family, trained=trained, dataset=dataset)).outputs["exported"]
        parity = on_cluster(check_parity(family=family, trained=trained, exported=exported, dataset=dataset))
        judged = on_cluster(evaluate_model(family=family, exported=exported, dataset=dataset))
        registered = register_model(
            family=family,
            trained=trained,
            exported=exported,
            dataset=dataset,
            metrics=judged.outputs["metrics"],
            data_verdict=valid.outputs["verdict"],
            parity_verdict=parity.outputs["verdict"],
            metric_verdict=judged.outputs["metric_verdict"],
            latency_verdict=judged.outputs["latency_verdict"],
        )
        version = on_cluster(registered).output
        with dsl.If(parity.outputs["Output"] == True, name="answers-like-the-network"):  # noqa: E712
            with dsl.If(judged.outputs["Output"] == True, name="better-than-the-champion"):  # noqa: E712
                published = on_cluster(publish_model(family=family, version=version, exported=exported))
                deploying = deploy_model(family=family, version=version, run=dsl.PIPELINE_JOB_ID_PLACEHOLDER)
                deployed = on_cluster(deploying.after(published))
                tried = smoke_test(
                    family=family,
                    version=version,
                    served_as=deployed.output,
                    exported=exported,
                    dataset=dataset,
                )
                with dsl.If(on_cluster(tried).output == True, name="right-live"):  # noqa: E712
                    replayed = on_cluster(
                        replay_interval(family=family, version=version, cameras=cameras, minutes=replay_minutes)
                    )
                    with dsl.If(replayed.outputs["Output"] == True, name="no-worse-in-replay"):  # noqa: E712
                        on_cluster(promote_model(family=family, version=version))
