"""The steps from data to a promoted model, for any family; each pipeline component calls one of them.

Steps hand folders to each other: raw data → prepared data → trained model → exported model. Gates answer with a
`Verdict`, in a file, so that one that failed is stored with the model and shown, and does not look like a crash.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pathcast.core.errors import GateFailedError, InvalidInputError
from pathcast.core.settings import PlatformSettings
from pathcast.core.trained_model import TrainedModel
from pathcast.export.parity import file_answers
from pathcast.registry.gates import latency_gate, metric_gate, parity_gate
from pathcast.registry.publishing import ModelLifecycle
from pathcast.registry.registration import Registration
from pathcast.registry.verdicts import NO_CHAMPION, REPLAY, SMOKE_TEST, Verdict, failed
from pathcast.training import raw_files
from pathcast.training.family import Evaluation, Family, Selection, find_family
from pathcast.training.jobs import Crew, Training, launch_training
from pathcast.training.options import check_values
from pathcast.training.pipeline_step import step, whole_numbers
from pathcast.training.prepared import open_prepared, prepare
from pathcast.training.search_space import TRACKER

GATES = ("data", "parity", "metric", "latency", SMOKE_TEST, REPLAY)
"""What a version that a pipeline has made passes before it serves."""
STARTS = ("random", "shipped", "champion")
EXPORTED_ONNX = Path("1") / "model.onnx"
CONFIG, CARD = "config.pbtxt", "README.md"


def write_verdict(verdict: Verdict, path: Path) -> None:
    """The verdict as JSON."""
    path.write_text(json.dumps(asdict(verdict), indent=2) + "\n", encoding="utf-8")


def read_verdict(path: Path) -> Verdict:
    """What `write_verdict` wrote."""
    return Verdict(**json.loads(path.read_text(encoding="utf-8")))


def write_metrics(metrics: Mapping[str, float], path: Path) -> None:
    """The metrics as JSON."""
    path.write_text(json.dumps({name: float(value) for name, value in metrics.items()}) + "\n", encoding="utf-8")


def read_metrics(path: Path) -> dict[str, float]:
    """What `write_metrics` wrote."""
    return dict(json.loads(path.read_text(encoding="utf-8")))


@step
def select_data(settings: PlatformSettings, family: str, folder: Path, wanted: Selection) -> Mapping[str, Any]:
    """Raw data of the family from what the platform has stored, or from the files at the option `source`; its card.

    The tracker learns nothing, but its settings are searched: its data are MOT sequences, and always files.
    """
    select = None if family == TRACKER else find_family(family).select
    folder.mkdir(parents=True, exist_ok=True)
    if raw_files.OPTION in wanted.options:
        return raw_files.bring(settings, str(wanted.options[raw_files.OPTION]), folder)
    if select is None:
        raise InvalidInputError(
            f"{family}: nothing that the platform stores is labelled for it",
            hint='name files to learn from: --set selection=\'{"source": "DIR or s3://BUCKET/KEY"}\'',
        )
    return select(settings, folder, replace(wanted, options=whole_numbers(wanted.options)))


@step
def prepare_dataset(family: str, raw: Path, folder: Path, options: Mapping[str, Any]) -> str:
    """The raw data as training, validation and held-out parts in `folder`, or MOT sequences; its version.

    Of sequences the option `detections` lists folders of det.txt, of which the first that one has is taken.
    """
    if family == TRACKER:
        from pathcast.training.tracker_tuning import prepare_sequences

        check_values(family, options, {"detections": ["det"]})
        names = options.get("detections", ["det"])
        return prepare_sequences(raw, folder, (names,) if isinstance(names, str) else tuple(names))
    return prepare(find_family(family), raw, folder, whole_numbers(options)).version


@step
def validate_data(settings: PlatformSettings, family: str, prepared: Path, *, min_samples: int) -> Verdict:
    """Whether there is enough to learn from and to judge by: `min_samples` to train on, a tenth of it held out.

    Where there is not, no version comes of it that could bear the verdict, so the reason is kept as a failure's.
    """
    found = find_family(family)
    card = open_prepared(prepared, found).card
    sizes = {part: int(card["samples"][part]) for part in ("train", "val", "test")}
    wanted = {"train": min_samples, "val": max(min_samples // 10, 1), "test": max(min_samples // 10, 1)}
    short = [f"{part}: expected {wanted[part]}, got {sizes[part]}" for part in wanted if sizes[part] < wanted[part]]
    reason = "; ".join(short) or ", ".join(f"{part} {count}" for part, count in sizes.items())
    if short:
        ModelLifecycle(settings).note_failure(found.name, "validate_data", f"too little data: {reason}")
    return Verdict("data", not short, reason, {f"samples_{part}": float(count) for part, count in sizes.items()})


@step
def train_model(
    settings: PlatformSettings,
    family: str,
    prepared: Path,
    output: Path,
    *,
    start_from: str,
    changes: Mapping[str, Any],
    crew: Crew,
) -> TrainedModel:
    """Train by `pathcast train`, done by `crew`, from random, the shipped or the champion's weights.

    A champion that was not trained here gives the weights of its file. Where a family's champions have none in their
    files, or there is no champion, the shipped ones are taken, or else random ones. Raises InvalidInputError where the
    champion's file is another network's, PathcastError with the end of the failing worker's log.
    """
    if start_from not in STARTS:
        raise InvalidInputError(f"start_from: expected one of {', '.join(STARTS)}, got {start_from!r}")
    found = find_family(family)
    with TemporaryDirectory() as scratch:
        initial = Path(scratch) / "initial"
        initial.mkdir()
        has_weights = start_from == "champion" and _fetch_weights(settings, found, initial)
        if start_from != "random" and not has_weights and found.shipped is not None:
            found.shipped().save(initial)
            has_weights = True
        wanted = {**(found.fine_tuning if has_weights else {}), **whole_numbers(changes)}
        training = Training(family, prepared, output, wanted, initial if has_weights else None)
        launch_training(training, crew, settings)
    return TrainedModel.load(output, found.name)


@step
def export_onnx(family: str, trained: Path, prepared: Path, target: Path) -> Mapping[str, float]:
    """Write the served model: `target`/config.pbtxt, 1/model.onnx and a card; the largest differences of parity."""
    from pathcast.training.network import assign_weights

    found = find_family(family)
    model = TrainedModel.load(trained, found.name)
    network = found.build(model.settings)
    assign_weights(network, model.weights)
    differences = found.export(network, open_prepared(prepared, found).folder, target)
    card = target / CARD
    if not card.exists():
        card.write_text(_card(model), encoding="utf-8")
    return differences


@step
def check_parity(family: str, trained: Path, exported: Path, prepared: Path) -> Verdict:
    """Whether the exported file answers as the trained network does, on real samples."""
    from pathcast.training.network import answers, assign_weights

    found = find_family(family)
    model = TrainedModel.load(trained, found.name)
    network = found.build(model.settings)
    assign_weights(network, model.weights)
    examples = found.examples(exported / EXPORTED_ONNX, open_prepared(prepared, found).folder)
    expected = answers(network, examples)
    got = file_answers(exported / EXPORTED_ONNX, examples, list(expected))
    if found.in_order_of is not None:
        got = found.in_order_of(expected, got)
    return parity_gate(got, expected, len(next(iter(examples.values()))))


@step
def evaluate_model(
    settings: PlatformSettings, family: str, exported: Path, prepared: Path, scratch: Path
) -> tuple[Evaluation, tuple[Verdict, Verdict]]:
    """The exported file on held-out samples, beside the champion on the same ones, and its latency."""
    found = find_family(family)
    folder = open_prepared(prepared, found).folder
    challenger = found.evaluate(exported / EXPORTED_ONNX, folder)
    champion = ModelLifecycle(settings).fetch_champion(found.name, scratch / "champion.onnx")
    before = None if champion is None else found.evaluate(scratch / "champion.onnx", folder)
    latency = latency_gate(found.gate, exported / EXPORTED_ONNX, found.examples(exported / EXPORTED_ONNX, folder))
    metric = replace(metric_gate(found.gate, challenger, before), against=champion or NO_CHAMPION)
    return challenger, (metric, latency)


@step
def register_model(
    settings: PlatformSettings,
    family: str,
    trained: Path,
    exported: Path,
    prepared: Path,
    metrics: Mapping[str, float],
    verdicts: Iterable[Verdict],
    *,
    gates: Sequence[str] = (SMOKE_TEST,),
) -> int:
    """Make it a version in the registry, with its data card, its code's commit and what the gates said so far.

    It is promoted when it has passed all of `gates`.

    A model that failed a gate is registered as well: the reason stands where people look for it.
    """
    found = find_family(family)
    model, data = TrainedModel.load(trained, found.name), open_prepared(prepared, found)
    lifecycle = ModelLifecycle(settings)
    examples = found.examples(exported / EXPORTED_ONNX, data.folder)
    training = {f"training.{name}": value for name, value in model.record["training"].items()}
    given = Registration(
        onnx_path=exported / EXPORTED_ONNX,
        card=(exported / CARD).read_text(encoding="utf-8"),
        metrics=metrics,
        parameters={**model.settings, **training},
        tags={"data_version": data.version},
        data_card=data.card,
        example={name: values[:1] for name, values in examples.items()},
        weights=trained,
        gates=gates,
    )
    version = lifecycle.register(found.name, given)
    for verdict in verdicts:
        lifecycle.record(found.name, version, verdict)
    return version


@step
def publish_model(settings: PlatformSettings, family: str, version: int, exported: Path) -> str:
    """Store a registered version in the repository, where it serves nobody yet; the SHA-256 of its file."""
    card = (exported / CARD).read_text(encoding="utf-8")
    config = (exported / CONFIG).read_text(encoding="utf-8")
    name, lifecycle = find_family(family).name, ModelLifecycle(settings)
    return lifecycle.publish(name, version, exported / EXPORTED_ONNX, config, card=card).sha256


@step
def deploy_model(settings: PlatformSettings, family: str, version: int, run: str) -> str:
    """Put a version on trial beside the champion, for the run of that id, which is to end the trial.

    Refused, as GateFailedError, where a gate has failed already.
    """
    name, lifecycle = find_family(family).name, ModelLifecycle(settings)
    _require(name, version, lifecycle.verdicts(name, version))
    return lifecycle.deploy_challenger(name, version, run=run)


@step
def smoke_test(settings: PlatformSettings, family: str, version: int, exported: Path, prepared: Path) -> Verdict:
    """Ask the live challenger for known answers: those of the file itself, on real samples, many times over."""
    found = find_family(family)
    examples = found.examples(exported / EXPORTED_ONNX, open_prepared(prepared, found).folder)
    expected = file_answers(exported / EXPORTED_ONNX, examples)
    return ModelLifecycle(settings).smoke_test(found.name, version, examples, expected)


@step
def promote_model(settings: PlatformSettings, family: str, version: int) -> None:
    """Make the version the champion; GateFailedError where a gate has not let it pass."""
    ModelLifecycle(settings).promote(find_family(family).name, version)


def _fetch_weights(settings: PlatformSettings, family: Family, target: Path) -> bool:
    """Write the champion's weights into `target`, if there are any; InvalidInputError where they cannot be read.

    Random ones instead would be a training that nobody has asked for, with a challenger that cannot pass.
    """
    lifecycle = ModelLifecycle(settings)
    if lifecycle.fetch_weights(family.name, target) is not None:
        return True
    file = target.with_suffix(".onnx")
    if family.weights_of is None or lifecycle.fetch_champion(family.name, file) is None:
        return False
    try:
        family.weights_of(file).save(target)
    except InvalidInputError as error:
        raise InvalidInputError(
            f"start_from=champion: its weights cannot be read from its file: {error.message}",
            hint="--set start_from=random begins anew; or promote a model that was trained or imported as YOLOX here",
        ) from error
    return True


def _require(model: str, version: int, verdicts: Iterable[Verdict]) -> None:
    if refused := failed(verdicts):
        reasons = "; ".join(f"{verdict.gate}: {verdict.reason}" for verdict in refused)
        raise GateFailedError(f"{model} version {version} failed {reasons}", hint="the champion serves on")


def _card(model: TrainedModel) -> str:
    record = model.record
    rows = "\n".join(f"| {name} | {value:.4g} |" for name, value in record["val"].items())
    return (
        f"# {model.family}\n\nData version `{record['data_version']}`, code `{record['git_commit'] or 'unknown'}`, "
        f"release {record['release']}, epoch {record['best_epoch']} of {record['epochs_run']}.\n\n"
        f"| validation | |\n|---|---|\n{rows}\n"
    )
