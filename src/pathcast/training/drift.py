"""The check of a family by its own definition of bad performance, as `pathcast drift` and the pipelines make it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from pathcast.core.settings import PlatformSettings, from_environment
from pathcast.monitoring.check import Compared, Finding, check_signals
from pathcast.monitoring.settings import MonitorSettings
from pathcast.monitoring.store import store_findings
from pathcast.storage.connection import connect
from pathcast.training.family import find_family


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
    InvalidInputError for an unknown family or camera, ServiceUnavailableError where the database is away.
    """
    found = find_family(family)
    monitor = monitor or from_environment(MonitorSettings)
    definition = monitor.definition_of(found.name, found.monitoring)
    if window is not None:
        definition = replace(definition, window=window)
    end = until or datetime.now(UTC).replace(second=0, microsecond=0)
    with connect(settings.database_url, application_name="drift") as connection:
        compared = check_signals(connection, found.name, definition, end, cameras)
        store_findings(connection, [each.finding for each in compared])
    return DriftCheck(found.name, end, tuple(compared))
