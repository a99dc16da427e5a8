"""The lock of a model on a real PostgreSQL: one holder, a word for the next, free when its holder is killed."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from pathcast.core.errors import ServiceUnavailableError
from pathcast.storage.model_lock import model_lock
from tests.integration.storage.conftest import Database

pytestmark = pytest.mark.integration

HOLD = """
import sys
from pydantic import SecretStr
from pathcast.storage.model_lock import model_lock
with model_lock(SecretStr(sys.argv[1]), "held", "promote version 4"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_one_waits_and_says_who_holds_it(postgres: Database) -> None:
    with model_lock(postgres.url, "held", "promote version 4"):
        with model_lock(postgres.url, "another", "promote version 1", wait_s=0.1):
            pass
        with (
            pytest.raises(
                ServiceUnavailableError,
                match=rf"model held: still locked after 0\.1 s by promote version 4, process {os.getpid()} at ",
            ),
            model_lock(postgres.url, "held", "restore", wait_s=0.1),
        ):
            pass
    with model_lock(postgres.url, "held", "restore", wait_s=0.1):
        pass


def test_a_holder_that_fails_or_is_killed_lets_it_go(postgres: Database) -> None:
    with pytest.raises(KeyError), model_lock(postgres.url, "held", "promote version 4"):
        raise KeyError
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, postgres.url.get_secret_value()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(ServiceUnavailableError, match=f"process {holder.pid}"):
            model_lock(postgres.url, "held", "restore", wait_s=0.1).__enter__()
        holder.kill()
    with model_lock(postgres.url, "held", "restore", wait_s=10):
        pass


def test_without_a_database_nobody_holds_it() -> None:
    from pydantic import SecretStr

    with (
        pytest.raises(ServiceUnavailableError, match="could not connect to the database"),
        model_lock(SecretStr("postgresql://nobody@127.0.0.1:9/none"), "held", "restore"),
    ):
        pass
