from __future__ import annotations

import socket

import pytest
from pydantic_settings import BaseSettings

from pathcast.core.errors import PathcastError
from pathcast.core.settings import from_environment
from pathcast.messaging.analyzer import AnalyzerSettings
from pathcast.messaging.archiver import ArchiverSettings
from pathcast.messaging.recorder import RecorderSettings
from pathcast.messaging.service import ServiceSettings, start_service


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("INSTANCE_INDEX", "first"),
        ("INSTANCE_INDEX", "-1"),
        ("INSTANCE_REPLICAS", "0"),
        ("METRICS_PORT", "http"),
        ("METRICS_PORT", "70000"),
        ("METRICS_PORT", "-1"),
        ("LOG_LEVEL", "LOUD"),
    ],
)
def test_a_wrong_setting_ends_the_service_with_the_variable_s_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, text: str
) -> None:
    monkeypatch.setenv(f"PATHCAST_{name}", text)
    assert start_service("archiver", _never) == 1
    printed = capsys.readouterr().err
    assert f"PATHCAST_{name} missing or invalid" in printed
    assert "Traceback" not in printed


@pytest.mark.parametrize("host", ["127.0.0.1", "192.0.2.1", "no..name"])
def test_a_metrics_page_that_cannot_be_opened_ends_the_service_with_address_and_next_step(
    capsys: pytest.CaptureFixture[str], host: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert start_service("archiver", _never, ServiceSettings(metrics_host=host, metrics_port=port)) == 1
    printed = capsys.readouterr().err
    assert f"the metrics page cannot listen at {host}:{port}" in printed
    assert "next step: set PATHCAST_METRICS_PORT" in printed
    assert "Traceback" not in printed


@pytest.mark.parametrize(
    ("kind", "name", "texts"),
    [
        (ArchiverSettings, "PATHCAST_ARCHIVER_PACK_SECONDS", ("0", "-2", "nan", "inf", "1e-10")),
        (ArchiverSettings, "PATHCAST_ARCHIVER_PACK_MAX_BYTES", ("0",)),
        (ArchiverSettings, "PATHCAST_ARCHIVER_FLUSH_S", ("0", "nan", "inf")),
        (ArchiverSettings, "PATHCAST_ARCHIVER_OFFSET_S", ("-1", "nan")),
        (ArchiverSettings, "PATHCAST_ARCHIVER_BATCH_RECORDS", ("0", "-1")),
        (ArchiverSettings, "PATHCAST_ARCHIVER_HOUSEKEEPING_S", ("0", "nan")),
        (RecorderSettings, "PATHCAST_RECORDER_BATCH_RECORDS", ("0", "-1")),
        (RecorderSettings, "PATHCAST_RECORDER_FLUSH_S", ("-1", "nan", "inf")),
        (AnalyzerSettings, "PATHCAST_ANALYZER_BATCH_FRAMES", ("0", "-1")),
        (AnalyzerSettings, "PATHCAST_ANALYZER_CHECKPOINT_S", ("-1", "nan", "inf")),
        (AnalyzerSettings, "PATHCAST_ANALYZER_MAX_AGE_S", ("0", "nan", "inf")),
    ],
)
def test_a_number_that_no_service_can_work_by_is_refused_with_the_variable_s_name(
    monkeypatch: pytest.MonkeyPatch, kind: type[BaseSettings], name: str, texts: tuple[str, ...]
) -> None:
    for text in texts:
        monkeypatch.setenv(name, text)
        with pytest.raises(PathcastError, match=f"{name} missing or invalid"):
            from_environment(kind)


@pytest.mark.parametrize("kind", [ServiceSettings, ArchiverSettings, RecorderSettings, AnalyzerSettings])
def test_the_defaults_are_within_the_bounds(kind: type[BaseSettings]) -> None:
    kind.model_validate(kind().model_dump())


def test_a_worker_s_wrong_settings_end_the_service_without_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    def build(_settings: ServiceSettings, _metrics: object) -> object:
        raise PathcastError("settings: PATHCAST_ARCHIVER_FLUSH_S missing or invalid")

    assert start_service("archiver", build, ServiceSettings()) == 1  # type: ignore[arg-type]
    printed = capsys.readouterr().err
    assert "PATHCAST_ARCHIVER_FLUSH_S" in printed
    assert "Traceback" not in printed


def _never(_settings: object, _metrics: object) -> object:
    raise AssertionError("built in spite of wrong settings")
