"""The check of a family by its own definition of bad performance, and what an alarm leads to."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from pathcast.core.errors import PathcastError
from pathcast.core.settings import PlatformSettings, from_environment
from pathcast.monitoring.alerts import announce
from pathcast.monitoring.check import Compared, Finding, check_signals
from pathcast.monitoring.retraining import Trigger, claim_run, note_end
from pathcast.monitoring.settings import MonitorSettings
from pathcast.monitoring.store import store_findings
from pathcast.storage.connection import connect
from pathcast.training.champion import keep_serving
from pathcast.training.family import find_family, known_families
from pathcast.training.pipeline_step import step

PIPELINE = "continuous_training"


@dataclass(frozen=True, slots=True, eq=False)
class DriftCheck:
    """What a check found: of each camera and signal its finding, with the samples behind it."""

    family: str
    until: datetime
    compared: tuple[Compared, ...]

    @property
    def findings(self) -> list[Finding]:
        return [each.finding for each in self.compared]

    @property
    def alarm(self) -> bool:
        return any(finding.alarm for finding in self.findings)

    @property
    def reasons(self) -> list[str]:
        """A sentence for each signal that alarms, naming signal and camera."""
        return [str(finding) for finding in self.findings if finding.alarm]


def check_family(
    settings: PlatformSettings,
    family: str,
    cameras: Sequence[str] = (),
    *,
    window: timedelta | None = None,
    until: datetime | None = None,
    monitor: MonitorSettings | None = None,
) -> DriftCheck:
    """Check the window of that length (the family's own where None) that ends at `until` (now, in whole minutes).

    The findings are stored, and alarms opened or closed by them; to check a window again changes nothing. Raises
    InvalidInputError for an unknown family or camera and for wrong settings, ServiceUnavailableError where the
    database is away.
    """
    found = find_family(family)
    monitor = monitor or from_environment(MonitorSettings)
    definition = monitor.definition_of(found.name, found.monitoring, known_families())
    if window is not None:
        definition = replace(definition, window=window)
    end = until or datetime.now(UTC).replace(second=0, microsecond=0)
    with connect(settings.database_url, application_name="drift") as connection:
        compared = check_signals(connection, found.name, definition, end, cameras)
        store_findings(connection, [each.finding for each in compared])
    return DriftCheck(found.name, end, tuple(compared))


@step
def detect_drift(
    settings: PlatformSettings,
    family: str,
    cameras: Sequence[str],
    *,
    window: timedelta | None,
    until: datetime | None,
    force: bool,
    run: str,
) -> tuple[DriftCheck, str | None]:
    """Check, decide whether `run` trains, and tell whom it concerns: the check, and why not (None: it trains).

    An alarm has to claim its training, at whatever the limits of `MonitorSettings` allow; `force` neither asks nor
    counts. A champion that does not serve is put right first. Where it cannot be, and where a message cannot be
    delivered, which is owed still, that keeps nobody from training.
    """
    monitor = from_environment(MonitorSettings)
    check = check_family(settings, family, cameras, window=window, until=until, monitor=monitor)
    try:
        keep_serving(settings, check.family)
    except PathcastError as error:
        print(f"the champion may not serve: {error}")
    try:
        return check, None if force else _claim(settings, check, run, monitor)
    finally:
        # Afterwards: a channel that does not answer takes its time.
        if (undelivered := tell(settings, check.family, monitor)) is not None:
            print(undelivered)


def _claim(settings: PlatformSettings, check: DriftCheck, run: str, monitor: MonitorSettings) -> str | None:
    if not check.alarm:
        return "nothing alarms"
    trigger = Trigger(check.family, check.until, "; ".join(check.reasons), run, PIPELINE, socket.gethostname())
    with connect(settings.database_url, application_name="drift") as connection:
        return claim_run(connection, trigger, datetime.now(UTC), monitor)


def tell(settings: PlatformSettings, family: str, monitor: MonitorSettings) -> PathcastError | None:
    """Send the messages about the family that are owed; what went wrong, which the next one to call this mends."""
    try:
        with connect(settings.database_url, application_name="drift") as connection:
            announce(connection, family, monitor)
    except PathcastError as error:
        return error
    return None


def end_training(settings: PlatformSettings, family: str, run: str, *, succeeded: bool) -> None:
    """Note that a run has ended, if an alarm has started it. Raises ServiceUnavailableError without a database."""
    with connect(settings.database_url, application_name="drift") as connection:
        note_end(connection, family, run, datetime.now(UTC), succeeded=succeeded)
