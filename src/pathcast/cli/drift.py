"""`pathcast drift`: whether the models still see the world that they know, and still do their work."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from pathcast.cli.moments import read_moment
from pathcast.core.errors import PathcastError
from pathcast.core.settings import STATE_DIR, PlatformSettings

if TYPE_CHECKING:
    from rich.console import Console

    from pathcast.monitoring.check import Finding
    from pathcast.monitoring.settings import MonitorSettings
    from pathcast.training.drift import DriftCheck

PIPELINE = "continuous_training"


def drift(
    family: list[str] = typer.Option(["detector", "forecaster"], help="Check this family; may be given often."),
    camera: list[str] = typer.Option([], help="Only this camera; may be given often. All that sent frames by default."),
    window: float | None = typer.Option(None, min=0.01, help="Minutes to judge; the family's own by default."),
    until: str | None = typer.Option(None, help="End of the window, ISO 8601 with zone; now by default."),
    report: Path | None = typer.Option(None, help="Write an HTML report to this file."),
    retrain: bool = typer.Option(False, help=f"On an alarm start {PIPELINE}, unless one ran lately."),
    host: str | None = typer.Option(None, help="With --retrain: Kubeflow Pipelines' address, to train there."),
    accept: bool = typer.Option(False, help="Take the windows that alarmed so far for normal from now on."),
    state_dir: Path = typer.Option(STATE_DIR, help="Where `pathcast up` keeps the platform's state."),
    json: Path | None = typer.Option(None, help="Also write the findings to this file."),
) -> None:
    """Compare the last window with what the models learned from, or with the days before, and tell whom it concerns.

    What is watched, and when it alarms, is part of each family's definition; PATHCAST_MONITOR_DEFINITIONS changes it.
    Findings are stored, and messages sent once when an alarm begins and once when it is over. The exit code is 0
    where everything was checked, alarm or not: `alarm` in the JSON says which. It is 1 where the check, a message or
    a training failed.
    """
    end = None if until is None else read_moment("--until", until)
    from rich.console import Console

    from pathcast.core.settings import from_environment, load_settings
    from pathcast.monitoring.settings import MonitorSettings
    from pathcast.monitoring.store import accept as accept_alarms
    from pathcast.storage.connection import connect
    from pathcast.training.drift import check_family
    from pathcast.training.family import find_family

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
    failures = [failure for check in checks if (failure := _announce(settings, monitor, check))]
    trainings = [_retrain(settings, monitor, check, host, state_dir, console) for check in checks if retrain]
    if json is not None:
        _write_json(json, checks, [each for each in trainings if each])
    if failures:
        raise failures[0]
    if any(each and each["status"] == "failed" for each in trainings):
        raise typer.Exit(1)


def _announce(settings: PlatformSettings, monitor: MonitorSettings, check: DriftCheck) -> PathcastError | None:
    """Send the messages that are owed; what went wrong is told at the end, after the rest of the work."""
    from pathcast.monitoring.alerts import announce
    from pathcast.storage.connection import connect

    try:
        with connect(settings.database_url, application_name="drift") as connection:
            announce(connection, check.family, monitor)
    except PathcastError as error:
        return error
    return None


def _retrain(
    settings: PlatformSettings,
    monitor: MonitorSettings,
    check: DriftCheck,
    host: str | None,
    state_dir: Path,
    console: Console,
) -> dict[str, Any] | None:
    """Start the training that the check calls for; what came of it, None where there is no alarm."""
    import socket

    from pathcast.monitoring.retraining import Trigger, claim_run, note_run
    from pathcast.storage.connection import connect

    if not check.alarm:
        return None
    cameras = sorted({finding.camera_id for finding in check.findings if finding.alarm})
    trigger = Trigger(
        check.family, check.until, f"pathcast drift on {socket.gethostname()}", "; ".join(check.reasons), host or "here"
    )
    outcome: dict[str, Any] = {"family": check.family, "cameras": cameras, "place": trigger.place}

    def note(status: Any) -> dict[str, Any]:
        # The training takes longer than an idle connection may live.
        with connect(settings.database_url, application_name="drift") as connection:
            note_run(connection, trigger, status, datetime.now(UTC))
        return outcome | {"status": status}

    with connect(settings.database_url, application_name="drift") as connection:
        refusal = claim_run(connection, trigger, datetime.now(UTC), monitor)
    if refusal is not None:
        console.print(f"{check.family}: no training: {refusal}", markup=False, highlight=False)
        return outcome | {"status": "refused", "reason": refusal}
    console.print(f"{check.family}: {PIPELINE} starts", markup=False, highlight=False)
    try:
        _start(check.family, host, state_dir)
    except (PathcastError, typer.Exit) as error:
        if isinstance(error, PathcastError):
            console.print(f"{check.family}: {error}", style="red", markup=False, highlight=False)
        return note("failed")
    except BaseException:
        note("failed")
        raise
    return note("started" if host else "succeeded")


def _start(family: str, host: str | None, state_dir: Path) -> None:
    from pathcast.cli.pipeline import run_pipeline

    parameters = [f"family={family}", "force=true"]
    run_pipeline(PIPELINE, parameters, host, upload=False, schedule=None, state_dir=state_dir, json=None)


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
    import msgspec

    content = {
        "alarm": any(check.alarm for check in checks),
        "families": {check.family: {"alarm": check.alarm, "reasons": check.reasons} for check in checks},
        "findings": [as_mapping(finding) for check in checks for finding in check.findings],
        "trainings": list(trainings),
    }
    path.write_bytes(msgspec.json.format(msgspec.json.encode(content)))


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
