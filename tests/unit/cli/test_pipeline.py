"""`pathcast pipeline` against Kubeflow Pipelines, by its own client over HTTP; and what it says before it starts."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2
from support.kfp_api import TOKEN, KfpApi, serving
from typer.testing import CliRunner

from pathcast.cli.main import app, main
from pathcast.core.errors import InvalidInputError, PathcastError, ServiceUnavailableError

pytestmark = pytest.mark.usefixtures("quick_kfp")


@pytest.fixture
def api() -> KfpApi:
    return KfpApi()


@pytest.fixture
def host(api: KfpApi, monkeypatch: pytest.MonkeyPatch, tmp_path) -> Iterator[str]:
    monkeypatch.setenv("KFP_TOKEN", TOKEN)
    monkeypatch.setenv("PATHCAST_TRAIN_IMAGE", "registry.example/pathcast-train@sha256:1")
    monkeypatch.setenv("HOME", str(tmp_path))
    with serving(api) as address:
        yield address


def run_cli(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["pipeline", "run", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert TOKEN not in result.output
    return result.output


def test_a_run_is_started_with_its_parameters_and_account(api: KfpApi, host: str) -> None:
    out = run_cli(
        "tune", "--host", host, "--set", "trials=5", "--set", "price=2", "--set", "gpus=1", "--account", "steps"
    )
    assert f"tune: run run_id-1 started at {host}" in out.replace("\n", " ")
    (run,), (experiment,) = api.runs, api.experiments
    assert experiment["display_name"] == "pathcast-tune"
    assert run["experiment_id"] == experiment["experiment_id"]
    assert run["service_account"] == "steps"
    assert run["runtime_config"]["parameters"] == {"trials": 5, "price": 2.0, "gpus": "1"}
    spec = json_format.ParseDict(run["pipeline_spec"]["pipeline_spec"], pipeline_spec_pb2.PipelineSpec())
    assert spec.pipeline_info.name == "tune"
    assert "kubernetes" in run["pipeline_spec"]["platform_spec"]["platforms"]


def test_a_schedule_never_runs_twice_at_a_time(api: KfpApi, host: str) -> None:
    run_cli("train_model", "--host", host, "--schedule", "0 0 3 * * *", "--set", "days=2")
    (recurring,) = api.recurring
    assert recurring["trigger"]["cron_schedule"]["cron"] == "0 0 3 * * *"
    assert (recurring["max_concurrency"], recurring["no_catchup"]) == (1, True)
    assert recurring["runtime_config"]["parameters"] == {"days": 2.0}


def test_an_upload_makes_a_pipeline_and_then_versions(api: KfpApi, host: str) -> None:
    arguments = ("batch_inference", "--host", host, "--upload")
    assert "stored at" in run_cli(*arguments)
    run_cli(*arguments)
    assert [len(versions) for versions in api.pipelines.values()] == [2]
    assert list(api.pipelines) == ["batch-inference"]
    assert all(b"analyse-video" in upload for upload in api.uploads)


@pytest.mark.parametrize(
    ("refuse", "token", "error", "message"),
    [
        (0, "wrong", InvalidInputError, "answered 401: the token is missing, expired"),
        (0, "", InvalidInputError, "answered 401"),
        (403, TOKEN, InvalidInputError, "answered 403"),
        (503, TOKEN, ServiceUnavailableError, "answered 503: .*refused"),
        (400, TOKEN, PathcastError, "refused it with 400"),
    ],
)
def test_a_refusal_is_told_without_the_token(
    api: KfpApi, host: str, monkeypatch: pytest.MonkeyPatch, refuse: int, token: str, error: type, message: str
) -> None:
    api.refuse = refuse
    monkeypatch.setenv("KFP_TOKEN", token)
    with pytest.raises(error, match=message) as raised:
        run_cli("tune", "--host", host)
    assert not token or token not in str(raised.value)
    assert api.runs == []


@pytest.mark.parametrize("more", [(), ("--upload",), ("--schedule", "0 0 3 * * *")])
def test_nothing_is_sent_whose_steps_have_no_image(
    api: KfpApi, host: str, monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...]
) -> None:
    monkeypatch.delenv("PATHCAST_TRAIN_IMAGE")
    with pytest.raises(InvalidInputError, match="PATHCAST_TRAIN_IMAGE is not set"):
        run_cli("tune", "--host", host, *more)
    assert api.runs == []


def test_a_host_that_is_none_is_told_at_once(host: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(ServiceUnavailableError, match="does not answer"):
        run_cli("tune", "--host", nobody)
    with pytest.raises(InvalidInputError, match="expected the address"):
        run_cli("tune", "--host", "kubeflow.example")
    with serving(KfpApi(), page="<html>Log in</html>") as other:
        with pytest.raises(ServiceUnavailableError, match="text/html"):
            run_cli("tune", "--host", other)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "--host", "http://h"), "expected one of train_model, continuous_training"),
        (("tune", "--upload"), "need --host"),
        (("tune", "--schedule", "0 0 3 * * *"), "need --host"),
        (("tune", "--set", "trials"), "expected KEY=VALUE"),
        (("tune", "--set", "nothing=1"), "no parameter nothing; expected one of cameras"),
        (("tune", "--set", "trials=many"), "expected a value of type integer"),
        (("tune", "--set", "trials=true"), "expected a value of type integer"),
        (("tune", "--set", "fixed=[]"), "expected a value of type dict"),
        (("batch_inference", "--set", "sources=[]"), "expected --set output=VALUE; it has no default"),
    ],
)
def test_what_cannot_be_meant_is_told_before_anything_starts(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        run_cli(*arguments)


def test_a_schedule_has_six_fields(host: str) -> None:
    with pytest.raises(InvalidInputError, match="expected six fields"):
        run_cli("tune", "--host", host, "--schedule", "0 3 * * *")


def test_the_command_ends_with_one_line_and_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["pathcast", "pipeline", "run", "tune", "--set", "nothing=1"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert "no parameter nothing" in capsys.readouterr().err
