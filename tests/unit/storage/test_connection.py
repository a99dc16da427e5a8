from __future__ import annotations

import psycopg
import pytest
from pydantic import SecretStr

from pathcast.core import PathcastError, ServiceUnavailableError
from pathcast.storage.connection import connect, database_errors


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (psycopg.OperationalError("server closed the connection\nmore"), ServiceUnavailableError),
        (psycopg.InterfaceError("the connection is closed"), ServiceUnavailableError),
        (psycopg.errors.DeadlockDetected("deadlock"), ServiceUnavailableError),
        (psycopg.errors.SerializationFailure("again"), ServiceUnavailableError),
        (psycopg.errors.QueryCanceled("statement timeout"), ServiceUnavailableError),
        (psycopg.errors.AdminShutdown("terminating"), ServiceUnavailableError),
        (psycopg.errors.ReadOnlySqlTransaction("standby"), ServiceUnavailableError),
        (psycopg.errors.NumericValueOutOfRange("too large"), PathcastError),
        (psycopg.errors.UndefinedTable("no tracks"), PathcastError),
        (psycopg.errors.InsufficientPrivilege("denied"), PathcastError),
    ],
)
def test_errors_in_our_words(error: psycopg.Error, expected: type[PathcastError]) -> None:
    with pytest.raises(PathcastError, match="could not write rows") as raised, database_errors("write rows"):
        raise error
    assert type(raised.value) is expected
    assert "more" not in str(raised.value)


@pytest.mark.parametrize(
    "url", ["postgresql://user:hidden@127.0.0.1:1/db?bad_option=1", "postgresql://u:hidden@[::1/db"]
)
def test_errors_never_show_the_password(url: str) -> None:
    with pytest.raises(PathcastError) as raised:
        connect(SecretStr(url), application_name="tests")
    assert "hidden" not in str(raised.value)
