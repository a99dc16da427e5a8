"""`pathcast drift` on a running platform: table, JSON, report, webhook, metrics, the component."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import psycopg
import pytest
from typer.testing import CliRunner, Result

from components.detect_drift.component import detect_drift
from pathcast.cli.main import app
from pathcast.core.settings import PlatformSettings
from pathcast.local.environment import settings_variables
from pathcast.local.platform import Platform
from pathcast.local.ports import choose_ports
from pathcast.monitoring.settings import MonitorSettings
from pathcast.serving.triton_client import TritonClient
from pathcast.storage.connection import connect
from pathcast.training.drift import end_training
from tests.support.kfp_api import TOKEN, KfpApi, serving
from tests.support.shipped_champion import crown_shipped
from tests.support.streaming import Service
from tests.support.waiting import wait_for
from tests.support.walkers import walk
from tests.support.webhook import Receiver, receiving

pytestmark = pytest.mark.integration

MINUTE = timedelta(minutes=1)
CAMERA = "hurried"
END = datetime.now(UTC).replace(second=0, microsecond=0)


@pytest.fixture(scope="module")
def stored(platform_settings: PlatformSettings) -> None:
    """Seven minutes as ever and one with walkers 1.6 times as fast."""
    with connect(platform_settings.database_url, application_name="test") as connection:
        walk(connection, CAMERA, END - 8 * MINUTE, 7 * MINUTE)
        walk(connection, CAMERA, END - MINUTE, MINUTE, pace=1.6, seed=1)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    with receiving() as server:
        monkeypatch.setenv("PATHCAST_MONITOR_WEBHOOK_URL", server.address)
        monkeypatch.setenv("PATHCAST_MONITOR_DEFINITIONS", json.dumps({"forecaster": {"reference_hours": 7 / 60}}))
        yield server


def run(platform: Platform, *arguments: object) -> Result:
    texts = ["drift", "--family", "forecaster", "--camera", CAMERA, "--state-dir", platform.state_dir, *arguments]
    return CliRunner().invoke(app, [str(each) for each in texts])


def judge(platform: Platform, minute: int, *arguments: object) -> Result:
    until = END - minute * MINUTE
    return run(platform, "--window", 1, "--until", until.isoformat(), *arguments)


@pytest.mark.usefixtures("stored")
def test_faster_walkers_are_shown_told_and_measured(
    platform: Platform, platform_settings: PlatformSettings, told: Receiver, tmp_path: Path
) -> None:
    findings, report = tmp_path / "drift.json", tmp_path / "drift.html"
    for _ in range(2):
        result = judge(platform, 0, "--json", findings, "--report", report)
        assert result.exit_code == 0, result.output
    content = json.loads(findings.read_text())
    assert content["alarm"] is True
    assert content["families"]["forecaster"]["alarm"] is True
    verdicts = {each["signal"]: each["verdict"] for each in content["findings"]}
    assert verdicts == {"speed": "alarm", "forecast_error": "alarm", "forecast_skill": "normal"}
    for word in (CAMERA, "speed", "forecast_error", "units a second", "alarm", "normal"):
        assert word in result.output
    assert "<td>speed</td>" in report.read_text()
    # What is owed for alarms at other cameras of the platform may come along.
    own = [body for _, _, body in told.received if body.get("camera_id") == CAMERA]
    assert [body["event"] for body in own] == ["alarm"]
    assert "secretword" not in result.output
    # The recorder shows what was found.
    port = choose_ports(["recorder"], {}, in_use=())["recorder"]
    recorder = Service("recorder", platform_settings, tmp_path / "recorder.log", metrics_port=port)
    recorder.start()
    try:
        line = f'pathcast_drift_alarm{{camera="{CAMERA}",family="forecaster",signal="speed"}} 1.0'

        def shown() -> bool:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as page:
                    return line in page.read().decode()
            except OSError:
                return False

        wait_for(shown, line)
    finally:
        assert recorder.process is not None
        recorder.process.terminate()
        recorder.process.wait(30)


def step(
    settings: PlatformSettings,
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    *,
    minutes: float = 0.0,
    until: str = "",
    run: str = "run-1",
    force: bool = False,
) -> tuple[bool, dict[str, object], dict[str, float]]:
    """What the component answers for the camera, with its metadata and metrics."""
    for name, value in settings_variables(settings).items():
        monkeypatch.setenv(name, value)
    logged: dict[str, float] = {}
    report = SimpleNamespace(path=str(folder / "report"))
    findings = SimpleNamespace(log_metric=logged.__setitem__, metadata={})
    trains = detect_drift.python_func("forecaster", [CAMERA], minutes, until, run, report, findings, force)
    return trains, findings.metadata, logged


@pytest.mark.usefixtures("stored", "told")
def test_the_component_answers_as_the_command(
    platform_settings: PlatformSettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # Its window ends now, which is after the walkers' last step: nobody walks, so nothing is known.
    trains, metadata, _ = step(platform_settings, monkeypatch, tmp_path, minutes=0.01)
    assert trains is False
    assert metadata == {"alarm": False, "reasons": [], "refusal": "nothing alarms"}
    # Only eight minutes of the second window have frames, so it is looked at closely.
    monkeypatch.setenv(
        "PATHCAST_MONITOR_DEFINITIONS", json.dumps({"forecaster": {"looks": 5000, "reference_hours": 24}})
    )
    trains, _, logged = step(platform_settings, monkeypatch, tmp_path, minutes=24 * 60.0)
    assert trains is False
    assert set(logged) == {f"forecast_skill {CAMERA}"}
    assert "<td>forecast_skill</td>" in (tmp_path / "report").read_text()


@pytest.mark.usefixtures("stored")
def test_runs_by_a_schedule_tell_and_keep_the_cool_down_and_the_cap(
    platform_settings: PlatformSettings, told: Receiver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with connect(platform_settings.database_url, application_name="test") as connection:
        connection.execute("DELETE FROM retraining_runs")
        connection.execute("DELETE FROM drift_alarms WHERE camera_id = %s", (CAMERA,))

    def scheduled(run: str, until: datetime = END, **options: bool) -> tuple[bool, str]:
        moment = until.isoformat()
        trains, metadata, _ = step(
            platform_settings, monkeypatch, tmp_path, minutes=1, until=moment, run=run, **options
        )
        assert metadata["alarm"] is True
        return trains, str(metadata["refusal"])

    # Whoever is to be told does not answer; that keeps nobody from training, and the next check tells.
    told.answers = [500, 500, 500, 204]
    assert scheduled("first") == (True, "")
    assert [body["event"] for _, _, body in told.received] == ["alarm"] * 3
    assert scheduled("first") == (True, "")  # the step is repeated
    assert len(told.received) == 4
    assert scheduled("second")[1].startswith("this window has started one already")
    later = END + timedelta(seconds=5)
    assert scheduled("second", later)[1].startswith("one is under way")
    end_training(platform_settings, "forecaster", "first", succeeded=True)
    assert scheduled("second", later)[1].endswith("less than 6:00:00 ago")
    monkeypatch.setenv("PATHCAST_MONITOR_COOL_DOWN_HOURS", "0")
    monkeypatch.setenv("PATHCAST_MONITOR_RUNS_A_DAY", "1")
    assert scheduled("second", later)[1] == "1 have started within a day, 1 are allowed"
    assert scheduled("second", later, force=True) == (True, "")
    assert len(told.received) == 4
    with connect(platform_settings.database_url, application_name="test") as connection:
        rows = connection.execute("SELECT run, triggered_by, status FROM retraining_runs").fetchall()
    assert rows == [("first", "continuous_training", "succeeded")]


@pytest.mark.usefixtures("stored", "told")
def test_an_alarm_starts_one_training(
    platform: Platform, platform_settings: PlatformSettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATHCAST_MONITOR_COOL_DOWN_HOURS", "0")
    monkeypatch.setenv("PATHCAST_MONITOR_RUNS_A_DAY", "1")
    monkeypatch.setenv("KFP_TOKEN", TOKEN)
    monkeypatch.setenv("PATHCAST_TRAIN_IMAGE", "registry.example/pathcast-train@sha256:1")
    monkeypatch.setenv("HOME", str(tmp_path))
    target = tmp_path / "drift.json"

    def trainings(minute: int, *arguments: object) -> list[str]:
        result = judge(platform, minute, "--json", target, *arguments)
        assert result.exit_code == 0, result.output
        return [each["status"] for each in json.loads(target.read_text())["trainings"]]

    with connect(platform_settings.database_url, application_name="test") as connection:
        connection.execute("DELETE FROM retraining_runs")  # what other tests have started counts, too
    api = KfpApi()
    with serving(api) as host:
        assert trainings(0) == []
        assert trainings(1, "--retrain") == []  # as ever: no alarm, no training
        assert trainings(0, "--retrain", "--host", host, "--account", "steps", "--set", "days=2") == ["started"]
        (run,) = api.runs
        # What the first step of that run does.
        given = run["runtime_config"]["parameters"]
        started = step(
            platform_settings,
            monkeypatch,
            tmp_path,
            minutes=given["window_minutes"],
            until=given["until"],
            run="at-kubeflow",
        )
        assert started[0] is True
        assert trainings(0, "--retrain") == ["refused"]
        assert trainings(0, "--retrain", "--host", host) == ["refused"]
    assert len(api.runs) == 1
    assert given == {"family": "forecaster", "until": END.isoformat(), "window_minutes": 1.0, "days": 2.0}
    assert run["service_account"] == "steps"
    with connect(platform_settings.database_url, application_name="test") as connection:
        rows = connection.execute(
            "SELECT status, run, reason LIKE %s FROM retraining_runs WHERE window_end = %s",
            (f"%speed at {CAMERA}%", END),
        ).fetchall()
        assert rows == [("started", "at-kubeflow", True)]
        connection.execute("DELETE FROM retraining_runs WHERE window_end = %s", (END,))

    result = judge(platform, 0, "--retrain", "--host", host, "--json", target)  # it is gone by now
    assert result.exit_code == 1
    assert "does not answer" in result.output
    assert json.loads(target.read_text())["trainings"][0]["status"] == "failed"


@pytest.mark.usefixtures("stored", "told")
def test_a_training_has_begun_when_people_are_told(
    platform: Platform, platform_settings: PlatformSettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Somebody who does not answer delays nothing."""
    monkeypatch.setenv("KFP_TOKEN", TOKEN)
    monkeypatch.setenv("PATHCAST_TRAIN_IMAGE", "registry.example/pathcast-train@sha256:1")
    monkeypatch.setenv("HOME", str(tmp_path))
    api, begun = KfpApi(), []

    def announced(connection: psycopg.Connection, family: str, settings: MonitorSettings) -> None:
        begun.append((len(api.runs), connection.execute("SELECT run FROM retraining_runs").fetchall()))

    monkeypatch.setattr("pathcast.training.drift.announce", announced)
    with connect(platform_settings.database_url, application_name="test") as connection:
        connection.execute("DELETE FROM retraining_runs")
    with serving(api) as host:
        result = judge(platform, 0, "--retrain", "--host", host)
    assert result.exit_code == 0, result.output
    step(platform_settings, monkeypatch, tmp_path, minutes=1, until=END.isoformat(), run="at-kubeflow")
    assert begun == [(1, []), (1, [("at-kubeflow",)])]


@pytest.mark.usefixtures("stored")
def test_a_champion_that_does_not_serve_is_put_right_and_told(
    platform: Platform, platform_settings: PlatformSettings, told: Receiver
) -> None:
    version = crown_shipped(platform_settings, "forecaster")
    with TritonClient(platform_settings.triton_grpc) as client:
        client.unload("forecaster")
        for _ in range(2):
            assert judge(platform, 1).exit_code == 0
        assert client.ready("forecaster", str(version))
    astray = [body for _, _, body in told.received if body["event"] == "champion_astray"]
    assert [(body["champion"], body["mended"]) for body in astray] == [(version, True)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--family", "toys"], "family 'toys': expected one of"),
        (["--camera", "nowhere"], "camera nowhere: expected a camera with observations"),
        (["--until", "yesterday"], "expected ISO 8601"),
        (["--until", "2999-01-01T00:00Z"], "--until: expected a time that has passed"),
        (["--retrain", "--set", "nothing=1"], "no parameter nothing"),
    ],
)
def test_what_is_not_there_is_named(platform: Platform, arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(app, ["drift", *arguments, "--state-dir", str(platform.state_dir)])
    shown = result.output + str(result.exception)
    assert result.exit_code != 0
    assert message in shown
