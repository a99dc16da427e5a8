"""Bring the database up to date: `python -m pathcast.storage`, as the owner of the schema.

The address is `PATHCAST_DATABASE_URL`. Applies the migrations that are missing, then the rights of the group
roles (sql/roles.sql); doing it again changes nothing.
"""

from __future__ import annotations

import logging
import sys
from importlib import resources

from pydantic import SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from pathcast.core.errors import PathcastError
from pathcast.storage.connection import connect, database_errors
from pathcast.storage.migrate import migrate

_LIMIT_S = 600

_log = logging.getLogger("migration")


class MigrationSettings(BaseSettings):
    """The owner's address of the database, a libpq URI."""

    model_config = SettingsConfigDict(env_prefix="PATHCAST_", frozen=True, extra="ignore", hide_input_in_errors=True)

    database_url: SecretStr


def main() -> int:
    """Migrate, then set the rights; 0 done, 1 failed."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        url = MigrationSettings().database_url  # type: ignore[call-arg]
        with connect(url, application_name="migration", statement_timeout_s=_LIMIT_S) as connection:
            applied = migrate(connection)
            with database_errors("set the rights of the roles"), connection.transaction():
                connection.execute((resources.files(__package__) / "sql/roles.sql").read_bytes())
        _log.info("schema up to date; applied: %s", ", ".join(applied) or "nothing new")
    except ValidationError:
        _log.error("PATHCAST_DATABASE_URL is not set")
        return 1
    except PathcastError as error:
        _log.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
