from __future__ import annotations

import pytest

from pathcast.core.errors import PathcastError
from pathcast.messaging.service import ServiceSettings, start_service


@pytest.mark.parametrize(
    ("name", "text"), [("INSTANCE_INDEX", "first"), ("METRICS_PORT", "http"), ("LOG_LEVEL", "LOUD")]
)
def test_a_wrong_setting_ends_the_service_with_the_variable_s_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, text: str
) -> None:
    monkeypatch.setenv(f"PATHCAST_{name}", text)
    assert start_service("archiver", _never) == 1
    printed = capsys.readouterr().err
    assert f"PATHCAST_{name} missing or invalid" in printed
    assert "Traceback" not in printed


def test_a_worker_s_wrong_settings_end_the_service_without_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    def build(_settings: ServiceSettings, _metrics: object) -> object:
        raise PathcastError("settings: PATHCAST_ARCHIVER_FLUSH_S missing or invalid")

    assert start_service("archiver", build, ServiceSettings()) == 1  # type: ignore[arg-type]
    printed = capsys.readouterr().err
    assert "PATHCAST_ARCHIVER_FLUSH_S" in printed
    assert "Traceback" not in printed


def _never(_settings: object, _metrics: object) -> object:
    raise AssertionError("built in spite of wrong settings")
