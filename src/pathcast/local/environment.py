"""The `PATHCAST_*` variables of a platform's settings, as an environment and as the file platform.env."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import SecretStr

from pathcast.core.errors import InvalidInputError
from pathcast.core.settings import ENVIRONMENT_FILE, PlatformSettings
from pathcast.local.state import write_private

_PLAIN = re.compile(r"[\w@%+=:,./-]*", re.ASCII)


def settings_variables(settings: PlatformSettings) -> dict[str, str]:
    """Every setting as a variable, secrets in the clear."""
    prefix = str(PlatformSettings.model_config["env_prefix"])
    variables = {}
    for name in PlatformSettings.model_fields:
        value = getattr(settings, name)
        if isinstance(value, SecretStr):
            value = value.get_secret_value()
        variables[f"{prefix}{name.upper()}"] = str(value).lower() if isinstance(value, bool) else str(value)
    return variables


def write_environment_file(settings: PlatformSettings, state_dir: Path) -> None:
    """Write platform.env (0600), which `load_settings` reads and a shell can source.

    Raises InvalidInputError where a value cannot be written so that both read the same.
    """
    lines = [f"{name}={_quoted(name, value)}" for name, value in settings_variables(settings).items()]
    write_private(state_dir / ENVIRONMENT_FILE, "\n".join(lines) + "\n")


def _quoted(name: str, value: str) -> str:
    """`value` as a shell and python-dotenv read it alike: plain, in single quotes, or in double ones."""
    if _PLAIN.fullmatch(value):
        return value
    if not re.search(r"['\\\n]|\$\{", value):
        return f"'{value}'"
    if not re.search(r'["$`\\\n]', value):
        return f'"{value}"'
    raise InvalidInputError(
        f"{name}: {value!r} cannot stand in {ENVIRONMENT_FILE}",
        hint="choose a --state-dir without quotes, dollar signs and backslashes",
    )
