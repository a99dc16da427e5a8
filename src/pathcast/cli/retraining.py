"""What `pathcast drift --retrain` does about an alarm: a run of `continuous_training`, here or at Kubeflow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from pathcast.cli.pipeline import run_at, run_here
from pathcast.cli.pipeline_host import PipelineHost
from pathcast.core.errors import PathcastError
from pathcast.core.settings import PlatformSettings
from pathcast.monitoring.retraining import training_of, why_not
from pathcast.monitoring.settings import MonitorSettings
from pathcast.storage.connection import connect
from pathcast.training.drift import PIPELINE, DriftCheck

if TYPE_CHECKING:
    from rich.console import Console


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
        """Start the run that the check calls for; what came of it, None where there is no alarm.

        The run looks at the same window again and claims its training, or is refused. One that would be is not
        started.
        """
        if not check.alarm:
            return None
        where = "here" if self.place is None else self.place.host
        cameras = sorted({finding.camera_id for finding in check.findings if finding.alarm})
        outcome: dict[str, Any] = {"family": check.family, "cameras": cameras, "place": where}
        with connect(self.settings.database_url, application_name="drift") as connection:
            refusal = why_not(connection, check.family, check.until, datetime.now(UTC), self.monitor)
        if refusal is not None:
            self._say(f"{check.family}: no training: {refusal}")
            return outcome | {"status": "refused", "reason": refusal}
        self._say(f"{check.family}: {PIPELINE} starts")
        try:
            return outcome | {"status": self._start(check)}
        except (PathcastError, typer.Exit) as error:
            if isinstance(error, PathcastError):
                self._say(f"{check.family}: {error}", style="red")
            return outcome | {"status": "failed"}

    def _start(self, check: DriftCheck) -> str:
        minutes = check.findings[0].window.length / timedelta(minutes=1)
        window = [f"until={check.until.isoformat()}", f"window_minutes={minutes}"]
        parameters = [f"family={check.family}", *window, *self.change]
        if self.place is not None:
            self._say(run_at(self.place, PIPELINE, parameters))
            return "started"
        run_here(PIPELINE, parameters, self.state_dir)
        # The training takes longer than an idle connection may live.
        with connect(self.settings.database_url, application_name="drift") as connection:
            return training_of(connection, check.family, check.until) or "refused"

    def _say(self, text: str, style: str | None = None) -> None:
        self.console.print(text, style=style, markup=False, highlight=False)
