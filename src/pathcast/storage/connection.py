"""Connections to the database, and its failures in the platform's own words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from pydantic import SecretStr

from pathcast.core.errors import PathcastError, ServiceUnavailableError


def connect(
    url: SecretStr, *, application_name: str, connect_timeout_s: int = 10, statement_timeout_s: int = 60
) -> psycopg.Connection:
    """Open an autocommit connection; the writers open their own transactions on it.

    A server that vanishes without a word is noticed within about 20 s. Raises ServiceUnavailableError
    when no server answers or it refuses the login.
    """
    try:
        psycopg.conninfo.conninfo_to_dict(url.get_secret_value())
    except psycopg.ProgrammingError:
        # The cause is left out, because it quotes the address with its password.
        raise PathcastError(
            "the database's address is not a libpq URI",
            hint="set PATHCAST_DATABASE_URL to postgresql://user:password@host:port/database",
        ) from None
    with database_errors("connect to the database"):
        connection = psycopg.connect(
            url.get_secret_value(),
            autocommit=True,
            application_name=application_name,
            connect_timeout=connect_timeout_s,
            keepalives_idle=5,
            keepalives_interval=5,
            keepalives_count=3,
            tcp_user_timeout=20_000,
            # Named statements would not survive a transaction pooler between us and the server.
            prepare_threshold=None,
        )
        connection.execute("SELECT set_config('statement_timeout', %s, false)", (f"{statement_timeout_s}s",))
        connection.execute("SET TIME ZONE 'UTC'")
    return connection


@contextmanager
def database_errors(doing: str) -> Iterator[None]:
    """Turn psycopg's errors into Pathcast's; `doing` completes "could not …".

    What may pass by itself (no server, a lost connection, a deadlock, a timeout, a standby) is a
    ServiceUnavailableError: open a new connection and repeat. Everything else is a PathcastError.
    """
    try:
        yield
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedFunction) as error:
        raise PathcastError(
            f"could not {doing}: the database has not the expected schema: {_first_line(error)}",
            hint="run the migrations: pathcast.storage.migrate.migrate(connection)",
        ) from error
    except (psycopg.OperationalError, psycopg.InterfaceError, psycopg.errors.ReadOnlySqlTransaction) as error:
        raise ServiceUnavailableError(
            f"could not {doing}: {_first_line(error)}", hint="see whether the database runs: pathcast status"
        ) from error
    except psycopg.Error as error:
        raise PathcastError(f"could not {doing}: {_first_line(error)}") from error


def _first_line(error: psycopg.Error) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
