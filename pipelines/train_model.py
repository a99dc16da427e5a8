"""From data to a promoted model, for any family: `pathcast pipeline run train_model`."""

from kfp import dsl

from components.check_parity.component import check_parity
from components.deploy_model.component import deploy_model
from components.evaluate_model.component import evaluate_model
from components.export_onnx.component import export_onnx
from components.prepare_dataset.component import prepare_dataset
from components.promote_model.component import promote_model
from components.publish_model.component import publish_model
from components.register_model.component import register_model
from components.roll_back.component import roll_back
from components.select_data.component import select_data
from components.smoke_test.component import smoke_test
from components.train_model.component import train_model as train
from components.validate_data.component import validate_data


@dsl.pipeline(
    name="train-model",
    description="Select, prepare, train, export, judge, register, publish, try beside the champion, promote.",
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
) -> None:
    """Whatever happens on the way, the last step leaves the registry's champion serving."""
    last = roll_back(family=family)
    with dsl.ExitHandler(last, name="train-and-promote"):
        raw = select_data(family=family, cameras=cameras, days=days, options=selection)
        data = prepare_dataset(family=family, raw=raw.outputs["raw"], options=preparation)
        dataset = data.outputs["dataset"]
        valid = validate_data(family=family, dataset=dataset, min_samples=min_samples)
        with dsl.If(valid.outputs["Output"] == True, name="enough-data"):  # noqa: E712
            trained = train(
                family=family,
                dataset=dataset,
                start_from=start_from,
                changes=training,
                workers=workers,
                launcher=launcher,
            ).outputs["trained"]
            exported = export_onnx(family=family, trained=trained, dataset=dataset).outputs["exported"]
            parity = check_parity(family=family, trained=trained, exported=exported, dataset=dataset)
            judged = evaluate_model(family=family, exported=exported, dataset=dataset)
            version = register_model(
                family=family,
                trained=trained,
                exported=exported,
                dataset=dataset,
                metrics=judged.outputs["metrics"],
                data_verdict=valid.outputs["verdict"],
                parity_verdict=parity.outputs["verdict"],
                metric_verdict=judged.outputs["metric_verdict"],
                latency_verdict=judged.outputs["latency_verdict"],
            ).output
            with dsl.If(parity.outputs["Output"] == True, name="answers-like-the-network"):  # noqa: E712
                with dsl.If(judged.outputs["Output"] == True, name="better-than-the-champion"):  # noqa: E712
                    published = publish_model(family=family, version=version, exported=exported)
                    deployed = deploy_model(family=family, version=version).after(published)
                    tried = smoke_test(
                        family=family,
                        version=version,
                        served_as=deployed.output,
                        exported=exported,
                        dataset=dataset,
                    )
                    with dsl.If(tried.output == True, name="right-live"):  # noqa: E712
                        promote_model(family=family, version=version)
