"""The model registry while its server is away."""

import socket
import time
from types import SimpleNamespace

import pytest
from mlflow.exceptions import MlflowException
from pydantic import SecretStr
from urllib3.util import retry

from pathcast.core.errors import ServiceUnavailableError
from pathcast.registry.tracking import ModelRegistry, translated

PASSWORD = "not-for-the-screen"  # noqa: S105


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a registry sets is undone after the test."""
    for suffix in ("TRACKING_USERNAME", "TRACKING_PASSWORD", "HTTP_REQUEST_MAX_RETRIES", "HTTP_REQUEST_BACKOFF_FACTOR"):
        monkeypatch.setenv(f"MLFLOW_{suffix}", "")
        monkeypatch.delenv(f"MLFLOW_{suffix}")


def test_an_absent_server_fails_soon_and_the_password_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    clock = SimpleNamespace(sleep=waits.append, time=time.time)
    monkeypatch.setattr(retry, "time", clock)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        registry = ModelRegistry(SecretStr(f"http://pathcast:{PASSWORD}@{address}"))
        started = time.monotonic()
        with pytest.raises(ServiceUnavailableError) as raised:
            registry.versions("detector")
    assert waits, "it is asked again"
    assert sum(waits) + time.monotonic() - started < 15
    assert address in str(raised.value)
    error: BaseException | None = raised.value
    while error is not None:
        assert PASSWORD not in str(error)
        error = error.__cause__ or error.__context__


def test_no_credentials_of_an_address_in_a_message_are_shown() -> None:
    error = translated(MlflowException(f"no answer from http://pathcast:{PASSWORD}@tracking:5000/api"))
    assert str(error).startswith("MLflow failed: no answer from http://tracking:5000/api")
