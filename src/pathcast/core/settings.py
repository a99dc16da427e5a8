"""Where the platform's parts are: read once, at the entry point, then passed on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TypeVar

from pydantic import SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from pathcast.core.errors import PathcastError

STATE_DIR = Path(".pathcast")
ENVIRONMENT_FILE = "platform.env"

Settings = TypeVar("Settings", bound=BaseSettings)


class PlatformSettings(BaseSettings):
    """Addresses and credentials of the platform's servers, from `PATHCAST_*` variables.

    `pathcast up` writes the same variables to `.pathcast/platform.env`; on a cluster they come from
    the pod's environment. Addresses are `host:port`; `database_url` is a libpq URI. Where `kafka_username` is
    set, the broker is asked in by SCRAM-SHA-512, and with `kafka_ca_file` (PEM) over TLS. `workspace` is a folder
    that all steps and jobs of a pipeline see: on a cluster a volume.
    """

    model_config = SettingsConfigDict(env_prefix="PATHCAST_", frozen=True, extra="ignore")

    kafka_bootstrap: str
    kafka_username: str = ""
    kafka_password: SecretStr = SecretStr("")
    kafka_ca_file: str = ""
    database_url: SecretStr
    s3_endpoint: str
    s3_access_key: SecretStr
    s3_secret_key: SecretStr
    s3_secure: bool = False
    frames_bucket: str = "frames"
    models_bucket: str = "models"
    triton_grpc: str
    triton_shared_memory: bool = False
    mlflow_tracking_uri: SecretStr
    frames_topic: str = "frames"
    observations_topic: str = "observations"
    workspace: Path = STATE_DIR / "workspace"


def load_settings(state_dir: Path = STATE_DIR) -> PlatformSettings:
    """Settings from the environment, else from `state_dir`/platform.env of a running local platform."""
    try:
        return PlatformSettings(_env_file=state_dir / ENVIRONMENT_FILE)  # type: ignore[call-arg]
    except ValidationError as error:
        missing = ", ".join(f"PATHCAST_{'.'.join(map(str, item['loc'])).upper()}" for item in error.errors())
        raise PathcastError(
            f"the platform's addresses are not known: {missing} missing or invalid",
            hint=f"run `pathcast up` (it writes {state_dir / ENVIRONMENT_FILE}), or set these variables",
        ) from error


def from_environment(kind: type[Settings], *, hint: str | None = None) -> Settings:
    """Settings of `kind` from the environment; PathcastError names the variables only, as values may hold passwords."""
    prefix = kind.model_config.get("env_prefix", "")
    try:
        return kind()
    except ValidationError as error:
        names = sorted({f"{prefix}{str(item['loc'][0]).upper()}" for item in error.errors()})
    except SettingsError as error:
        names = [f"{prefix}{name.upper()}" for name in re.findall(r'field "(\w+)"', str(error))]
    raise PathcastError(f"settings: {', '.join(names)} missing or invalid", hint=hint)
