"""`pathcast drift`: whether the models still see the world that they know, and still do their work."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from pathcast.cli.moments import read_moment
from pathcast.cli.output_file import file_option, write_json
from pathcast.core.settings import STATE_DIR

if TYPE_CHECKING:
    from rich.console import Console

    from pathcast.monitoring.check import Finding
    from pathcast.training.drift import DriftCheck


def drift(
    family: list[str] = typer.Option(["detector", "forecaster"], help="Check this family; may be given often."),
    camera: list[str] = typer.Option([], help="Only this camera; may be given often. All that sent frames by default."),
    window: float | None = typer.Option(None, min=0.01, help="Minutes to judge; the family's own by default."),
    until: str | None = typer.Option(None, help="End of the window, ISO 8601 with zone; now by default."),
    report: Path | None = file_option("Write an HTML report to this file."),
    retrain: bool = typer.Option(False, help="On an alarm start continuous_training, unless one ran lately."),
    change: list[str] = typer.Option([], "--set", help="With --retrain: KEY=VALUE, a parameter of the pipeline."),
    host: str | None = typer.Option(None, help="With --retrain: Kubeflow Pipelines' address, to train there."),
    namespace: str | None = typer.Option(None, help="With --host: the namespace, where Kubeflow has several users."),
    account: str | None = typer.Option(
        None, envvar="KFP_ACCOUNT", help="With --host: the service account of the steps."
    ),
    accept: bool = typer.Option(False, help="Take the windows that alarmed so far for normal from now on."),
    state_dir: Path = typer.Option(STATE_DIR, file_okay=False, help="Where `pathcast up` keeps the platform's state."),
    json: Path | None = file_option("Also write the findings to this file."),
) -> None:
    """Compare the last window with what the models learned from, or with the days before, and tell whom it concerns.

    What is watched, and when it alarms, is part of each family's definition; PATHCAST_MONITOR_DEFINITIONS changes it.
    Findings are stored, and messages sent once when an alarm begins and once when it is over. Where Triton does not
    serve the registry's champion, that is put right and told as well. The exit code is 0 where everything was checked,
    alarm or not: `alarm` in the JSON says which. It is 1 where the check, a message or a training failed, or a
    champion does not serve.
    """
    end = None if until is None else read_moment("--until", until)
    if end is not None and end > datetime.now(UTC):
        raise typer.BadParameter(f"--until: expected a time that has passed, got {until!r}")
    if not retrain and (change or host):
        raise typer.BadParameter(f"{'--set' if change else '--host'}: expected with --retrain, which it is for")
    if namespace and not host:
        raise typer.BadParameter("--namespace: expected with --host, which it is for")
    from rich.console import Console

    from pathcast.core.errors import PathcastError
    from pathcast.core.settings import from_environment, load_settings
    from pathcast.monitoring.settings import MonitorSettings
    from pathcast.monitoring.store import accept as accept_alarms
    from pathcast.storage.connection import connect
    from pathcast.training.champion import keep_serving
    from pathcast.training.drift import check_family, tell
    from pathcast.training.family import find_family

    if change:
        from pathcast.cli.pipeline import load_pipeline, read_parameters

        # Now, and not when something alarms one day.
        read_parameters(load_pipeline("continuous_training"), "continuous_training", change)
    # Messages are the log's business too, also that an alarm is over.
    logging.basicConfig(format="%(levelname)s %(message)s")
    logging.getLogger("drift").setLevel(logging.INFO)
    settings, monitor = load_settings(state_dir), from_environment(MonitorSettings)
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    if accept:
        with connect(settings.database_url, application_name="drift") as connection:
            for name in family:
                count = accept_alarms(connection, find_family(name).name, camera)
                console.print(f"{name}: {count} findings accepted", markup=False, highlight=False)
        return
    length = None if window is None else timedelta(minutes=window)
    with console.status("reading what was stored") if console.is_terminal else _silence():
        checks = [check_family(settings, name, camera, window=length, until=end, monitor=monitor) for name in family]
    _print(console, checks)
    if report is not None:
        from pathcast.monitoring.report import write_report

        write_report([each for check in checks for each in check.compared], report)
        console.print(f"{report}: written", markup=False, highlight=False)
    # What cannot be put right or delivered is said at the end, after the rest of the work.
    failures: list[PathcastError] = []
    for check in checks:
        try:
            keep_serving(settings, check.family)
        except PathcastError as error:
            failures.append(error)
    trainings: list[dict[str, Any] | None] = []
    if retrain:
        from pathcast.cli.pipeline_host import PipelineHost
        from pathcast.cli.retraining import Retraining

        place = None if host is None else PipelineHost(host, os.environ.get("KFP_TOKEN"), namespace, account)
        starter = Retraining(settings, monitor, console, state_dir, place, change)
        trainings = [starter.answer(check) for check in checks]
    # Afterwards: a channel that does not answer takes its time.
    for check in checks:
        if undelivered := tell(settings, check.family, monitor):
            failures.append(undelivered)
    if json is not None:
        _write_json(json, checks, [each for each in trainings if each])
    if failures:
        raise failures[0]
    if any(each and each["status"] == "failed" for each in trainings):
        raise typer.Exit(1)


def _print(console: Console, checks: Sequence[DriftCheck]) -> None:
    from rich.table import Table

    colours = {"alarm": "bold red", "normal": "green", "unknown": "dim"}
    for check in checks:
        if not check.compared:
            console.print(f"{check.family}: nothing to check: no camera sent frames, or no signal is watched")
            continue
        window = check.findings[0].window
        table = Table(title=f"{check.family}, {window.since:%Y-%m-%d %H:%M:%S} to {window.until:%H:%M:%S} UTC")
        for heading in ("camera", "signal", "unit"):
            table.add_column(heading)
        for heading in ("reference", "now", "distance", "alarm from"):
            table.add_column(heading, justify="right")
        table.add_column("verdict")
        table.add_column("samples", justify="right")
        for each in check.compared:
            finding, judged = each.finding, each.finding.judgement
            numbers = (judged.reference, judged.value, judged.distance, judged.threshold)
            table.add_row(
                finding.camera_id,
                finding.signal,
                each.signal.unit,
                *("" if number is None else f"{number:.3g}" for number in numbers),
                f"[{colours[judged.verdict]}]{judged.verdict}[/]",
                str(judged.samples),
            )
        console.print(table)
        for finding in check.findings:
            if finding.judgement.verdict == "unknown":
                console.print(f"{finding}", style="dim", markup=False, highlight=False)


def _write_json(path: Path, checks: Sequence[DriftCheck], trainings: Sequence[dict[str, Any]]) -> None:
    content = {
        "alarm": any(check.alarm for check in checks),
        "families": {check.family: {"alarm": check.alarm, "reasons": check.reasons} for check in checks},
        "findings": [as_mapping(finding) for check in checks for finding in check.findings],
        "trainings": list(trainings),
    }
    write_json(path, content)


def as_mapping(finding: Finding) -> dict[str, Any]:
    """A finding for JSON; means are in the signal's unit, the distance has none."""
    judged = finding.judgement
    return {
        "family": finding.family,
        "camera_id": finding.camera_id,
        "signal": finding.signal,
        "window_start": finding.window.since.isoformat(),
        "window_end": finding.window.until.isoformat(),
        "model_version": finding.model_version,
        "verdict": judged.verdict,
        "reason": judged.reason,
        "reference": judged.reference,
        "value": judged.value,
        "distance": judged.distance,
        "threshold": judged.threshold,
        "samples": judged.samples,
        "reference_windows": judged.windows,
    }


def _silence() -> Any:
    from contextlib import nullcontext

    return nullcontext()
