"""What `pathcast drift --retrain` does about an alarm: a run of `continuous_training`, here or at Kubeflow."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from pathcast.cli.pipeline import run_at, run_here
from pathcast.cli.pipeline_host import PipelineHost
from pathcast.core.errors import PathcastError
from pathcast.core.settings import PlatformSettings
from pathcast.monitoring.retraining import Status, Trigger, claim_run, note_run
from pathcast.monitoring.settings import MonitorSettings
from pathcast.storage.connection import connect
from pathcast.training.drift import DriftCheck

if TYPE_CHECKING:
    from rich.console import Console

PIPELINE = "continuous_training"


@dataclass(frozen=True, slots=True)
class Retraining:
    """Where trainings run (None: on this machine), with which `change` of the pipeline's parameters (KEY=VALUE)."""

    settings: PlatformSettings
    monitor: MonitorSettings
    console: Console
    state_dir: Path
    place: PipelineHost | None = None
    change: Sequence[str] = ()

    def answer(self, check: DriftCheck) -> dict[str, Any] | None:
        """Start the training that the check calls for; what came of it, None where there is no alarm.

        Each is noted in the database, so that it is not started twice, too soon, or too often a day.
        """
        if not check.alarm:
            return None
        where = "here" if self.place is None else self.place.host
        by = f"pathcast drift on {socket.gethostname()}"
        trigger = Trigger(check.family, check.until, by, "; ".join(check.reasons), where)
        cameras = sorted({finding.camera_id for finding in check.findings if finding.alarm})
        outcome: dict[str, Any] = {"family": check.family, "cameras": cameras, "place": where}
        with connect(self.settings.database_url, application_name="drift") as connection:
            refusal = claim_run(connection, trigger, datetime.now(UTC), self.monitor)
        if refusal is not None:
            self._say(f"{check.family}: no training: {refusal}")
            return outcome | {"status": "refused", "reason": refusal}
        self._say(f"{check.family}: {PIPELINE} starts")
        try:
            status = self._start(check.family)
        except (PathcastError, typer.Exit) as error:
            if isinstance(error, PathcastError):
                self._say(f"{check.family}: {error}", style="red")
            status = "failed"
        except BaseException:
            self._note(trigger, "failed")
            raise
        self._note(trigger, status)
        return outcome | {"status": status}

    def _start(self, family: str) -> Status:
        parameters = [f"family={family}", "force=true", *self.change]
        if self.place is None:
            run_here(PIPELINE, parameters, self.state_dir)
            return "succeeded"
        self._say(run_at(self.place, PIPELINE, parameters))
        return "started"

    def _note(self, trigger: Trigger, status: Status) -> None:
        # The training takes longer than an idle connection may live.
        with connect(self.settings.database_url, application_name="drift") as connection:
            note_run(connection, trigger, status, datetime.now(UTC))

    def _say(self, text: str, style: str | None = None) -> None:
        self.console.print(text, style=style, markup=False, highlight=False)
