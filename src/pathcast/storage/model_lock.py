"""One after the other: who changes which version of a model serves, or is tried, holds the model's lock meanwhile."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager

import psycopg
from pydantic import SecretStr

from pathcast.core.errors import ServiceUnavailableError
from pathcast.storage.connection import connect, database_errors

WAIT_S = 120.0
"""A switch takes seconds, and Triton may take two minutes to say that a model does not load."""

_SETTINGS = {
    # The server has to notice that a holder's machine has vanished; its own default is hours.
    "tcp_keepalives_idle": "5s",
    "tcp_keepalives_interval": "5s",
    "tcp_keepalives_count": "3",
    # The lock is held by an open transaction, which a transaction pooler leaves alone, with nothing to do in it.
    "idle_in_transaction_session_timeout": "0",
}
_KEY = "hashtext('pathcast model'), hashtext(%s)"
_HOLDER = (
    "SELECT application_name FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE locktype = 'advisory' AND granted "
    "AND datname = current_database() "
    "AND objsubid = 2 AND (classid, objid) = (hashtext('pathcast model')::oid, hashtext(%s)::oid)"
)


@contextmanager
def model_lock(url: SecretStr, model: str, work: str, *, wait_s: float = WAIT_S) -> Iterator[None]:
    """Hold the lock of `model` within the block; those who wait for it are told of the `work`, and where it is done.

    It goes with its connection: a process that is killed frees it at once, a machine that vanishes within about 20 s.
    Raises ServiceUnavailableError where another holds it for all of `wait_s`, and where no database answers.
    """
    who = f"{work}, process {os.getpid()} at {socket.gethostname()}"
    with closing(connect(url, application_name=who, statement_timeout_s=int(wait_s) + 10)) as connection:
        with database_errors(f"lock the model {model}"):
            # The settings too are the transaction's, which stays on one connection behind a pooler.
            connection.execute("BEGIN")
            for name, value in {**_SETTINGS, "lock_timeout": f"{int(1000 * wait_s)}ms"}.items():
                connection.execute("SELECT set_config(%s, %s, true)", (name, value))
            try:
                connection.execute(f"SELECT pg_advisory_xact_lock({_KEY})", (model,))
            except psycopg.errors.LockNotAvailable as error:
                connection.execute("ROLLBACK")
                holder = connection.execute(_HOLDER, (model,)).fetchone()
                raise ServiceUnavailableError(
                    f"model {model}: still locked after {wait_s:g} s by "
                    f"{holder[0] if holder else 'somebody who is gone now'}",
                    hint="one at a time changes what serves; wait until that has ended, then repeat this",
                ) from error
        yield
