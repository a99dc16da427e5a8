"""How drift is watched and who is told: `PATHCAST_MONITOR_*` variables."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from pathcast.core.errors import InvalidInputError
from pathcast.monitoring.definition import Monitoring


class MonitorSettings(BaseSettings):
    """Changes to the families' definitions of bad performance, addresses for alerts, and limits of retraining.

    `definitions` is JSON: family name → what `Monitoring.changed` takes, as
    `{"forecaster": {"window_minutes": 30, "signals": {"speed": 0.8, "forecast_skill": null}}}`. `webhook_url` gets
    each message as JSON by POST; `apprise_urls`, separated by blanks, are Apprise's addresses (mailto://, slack://,
    ...). Both may hold passwords and are never shown.
    """

    model_config = SettingsConfigDict(
        env_prefix="PATHCAST_MONITOR_", frozen=True, extra="ignore", hide_input_in_errors=True
    )

    definitions: dict[str, dict[str, Any]] = {}
    webhook_url: SecretStr = SecretStr("")
    apprise_urls: SecretStr = SecretStr("")
    cool_down_hours: float = Field(6.0, ge=0)
    runs_a_day: int = Field(2, ge=0)

    def definition_of(self, family: str, monitoring: Monitoring, known: Collection[str]) -> Monitoring:
        """The family's own definition with the changes that the settings make to it.

        Raises InvalidInputError where a change is not possible, or is of a family that is neither this one nor among
        the `known` ones.
        """
        where = "PATHCAST_MONITOR_DEFINITIONS"
        families = {family, *known}
        if unknown := set(self.definitions) - families:
            raise InvalidInputError(
                f"{where}: expected families of {', '.join(sorted(families))}, got {', '.join(sorted(unknown))}"
            )
        try:
            return monitoring.changed(self.definitions.get(family, {}))
        except InvalidInputError as error:
            raise InvalidInputError(f"{where}: {family}: {error.message}") from error
