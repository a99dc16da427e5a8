import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import create_autospec

import kfp
import pytest
import yaml
from typer.testing import CliRunner

from deployments import release
from deployments.images.build import PROJECT
from deployments.release import (
    CHART,
    DEPLOYMENTS,
    TRAINING_CODE,
    Environment,
    app,
    compiled_pipelines,
    deploy_command,
    namespace,
    read_digests,
    rollback_command,
    smoke_command,
    trained_commit,
    training_changed,
    upload_pipelines,
    write_overlays,
)
from pathcast.core.errors import InvalidInputError
from tests.manifests.objects import kustomizations
from tests.manifests.tools import ToolMissing, helm, kubectl

DIGESTS = {"pathcast-stream": "sha256:" + "1" * 64, "pathcast-train": "sha256:" + "2" * 64}
WHERE = ["--namespace", "pathcast"]


def _history(*statuses: str) -> list[Mapping[str, object]]:
    return [{"revision": number, "status": status} for number, status in enumerate(statuses, start=1)]


def test_images_are_deployed_by_digest() -> None:
    command = deploy_command(
        Environment.STAGING, DIGESTS, {"REGISTRY": "registry.example:5000/vision", "TAG": "build-7"}
    )
    assert command[:4] == ["helm", "upgrade", "pathcast", str(CHART)]
    sets = [command[index + 1] for index, part in enumerate(command) if part == "--set-string"]
    assert sets == [
        f"image.repository=registry.example:5000/vision/pathcast-stream,image.digest={DIGESTS['pathcast-stream']}",
        f"trainImage.repository=registry.example:5000/vision/pathcast-train,"
        f"trainImage.digest={DIGESTS['pathcast-train']}",
    ]
    values = Path(command[command.index("--values") + 1])
    assert values.name == "staging.yaml"
    assert values.is_file()
    assert {"--install", "--force-conflicts", "--rollback-on-failure", "--wait"} <= set(command)


def test_what_is_applied_by_hand_takes_the_pushed_images_too(tmp_path: Path) -> None:
    digests = DIGESTS | {"pathcast-triton": "sha256:" + "3" * 64}
    environment = {"REGISTRY": "registry.example:5000/vision"}
    folders = {folder.relative_to(tmp_path).as_posix() for folder in write_overlays(tmp_path, digests, environment)}
    assert folders == {folder.relative_to(DEPLOYMENTS).as_posix() for folder in kustomizations()}
    try:
        program = str(kubectl())
    except ToolMissing as error:
        pytest.skip(f"the overlays are NOT built: {error}")
    for folder, names in {
        "training/overlays/cpu": {"pathcast-train"},
        "training/jobs/tfjob": {"pathcast-train"},
        "admin": {"pathcast-train"},
        "serving": {"pathcast-triton"},
        "minio": set[str](),
    }.items():
        command = [program, "kustomize", str(tmp_path / folder)]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        own = {image for image in re.findall(r"image: (.*)", text) if "pathcast-" in image}
        assert own == {f"registry.example:5000/vision/{name}@{digests[name]}" for name in names}


@pytest.mark.parametrize("environment", Environment)
def test_each_environment_sets_values_that_the_chart_has(environment: Environment) -> None:
    chart = yaml.safe_load((CHART / "values.yaml").read_text())
    for name, value in yaml.safe_load(
        (CHART.parents[1] / f"deployments/environments/{environment}.yaml").read_text()
    ).items():
        assert name in chart
        assert not isinstance(value, dict) or value.keys() <= chart[name].keys()
    assert {"repository", "digest"} <= chart["image"].keys() & chart["trainImage"].keys()


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        (_history("superseded", "deployed"), ["rollback", "pathcast", "1"]),
        (_history("superseded", "failed", "deployed"), ["rollback", "pathcast", "1"]),
        (_history("superseded", "superseded", "superseded", "deployed"), ["rollback", "pathcast", "3"]),
        # An upgrade that never became ready is not the one that runs.
        (_history("superseded", "deployed", "failed"), ["rollback", "pathcast", "2"]),
        (_history("deployed"), ["uninstall", "pathcast"]),
        (_history("failed", "deployed"), ["uninstall", "pathcast"]),
    ],
)
def test_rollback_goes_to_the_last_good_revision(history: list[Mapping[str, object]], expected: list[str]) -> None:
    command = rollback_command(history, WHERE)
    assert command[: len(expected) + 1] == ["helm", *expected]
    assert command[len(expected) + 1 :][:2] == WHERE
    assert ("--force-conflicts" in command) is (expected[0] == "rollback")


@pytest.mark.parametrize(("environment", "expected"), [({}, "pathcast"), ({"NAMESPACE": "vision"}, "vision")])
def test_namespace(environment: dict[str, str], expected: str) -> None:
    assert namespace(environment) == expected


def test_digests_must_be_those_of_all_images(tmp_path: Path) -> None:
    file = tmp_path / "digests.json"
    with pytest.raises(InvalidInputError, match="no such file"):
        read_digests(file)
    file.write_text(json.dumps({"pathcast-stream": "sha256:1"}))
    with pytest.raises(InvalidInputError, match="pathcast-train missing"):
        read_digests(file)
    file.write_text(json.dumps(DIGESTS))
    assert read_digests(file) == DIGESTS


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        (
            {"REGISTRY": "registry.example:5000/vision", "TAG": "build-7"},
            f"registry.example:5000/vision/pathcast-train@{DIGESTS['pathcast-train']}",
        ),
        ({"PATHCAST_TRAIN_IMAGE": "kind.local/pathcast-train:dev"}, "kind.local/pathcast-train:dev"),
    ],
)
def test_pipelines_are_compiled_with_the_pushed_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], expected: str
) -> None:
    file = tmp_path / "digests.json"
    file.write_text(json.dumps(DIGESTS))
    monkeypatch.setattr(release, "DIGESTS", file)
    program = "from components.report_batch.component import IMAGE; print(IMAGE, end='')"
    seen = []

    def run(command: Sequence[str], *, environment: Mapping[str, str]) -> None:
        assert command[1:5] == ["-m", "pathcast", "pipeline", "compile"]
        started = [sys.executable, "-c", program]
        done = subprocess.run(started, cwd=PROJECT, env=environment, capture_output=True, text=True, check=True)
        seen.append(done.stdout)

    monkeypatch.setattr(release, "_run", run)
    result = CliRunner().invoke(app, ["compile"], env={"PATHCAST_TRAIN_IMAGE": None, **environment})
    assert result.exit_code == 0, result.output
    assert seen == [expected]


@pytest.fixture
def compiled(tmp_path: Path) -> list[Path]:
    for name in ("batch_inference", "continuous_training"):
        (tmp_path / f"{name}.yaml").write_text("components: {}\n")
    return compiled_pipelines(tmp_path)


def test_a_known_pipeline_gets_a_version_and_a_new_one_is_made(compiled: list[Path]) -> None:
    client = create_autospec(kfp.Client, instance=True)
    client.get_pipeline_id.side_effect = {"continuous-training": "id-1", "batch-inference": None}.get
    assert upload_pipelines(client, compiled, "build-7") == ["batch-inference", "continuous-training"]
    client.upload_pipeline.assert_called_once_with(str(compiled[0]), pipeline_name="batch-inference", namespace=None)
    client.upload_pipeline_version.assert_called_once_with(
        str(compiled[1]), pipeline_version_name="build-7", pipeline_id="id-1"
    )


def test_no_compiled_pipeline_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="no compiled pipelines"):
        compiled_pipelines(tmp_path)


def _host(monkeypatch: pytest.MonkeyPatch, folder: Path, *runs: tuple[str, str]) -> Any:
    """Kubeflow's client, of a server that has these runs (name, state), newest first, two on a page."""
    pages = [runs[first : first + 2] for first in range(0, len(runs), 2)] or [()]

    def list_runs(token: str, size: int, *, sort_by: str, experiment_id: str) -> SimpleNamespace:
        assert (sort_by, experiment_id) == ("created_at desc", "experiment-1")
        page = int(token or 0)
        found = [SimpleNamespace(display_name=name, state=state) for name, state in pages[page]]
        more = str(page + 1) if page + 1 < len(pages) else None
        return SimpleNamespace(runs=found or None, next_page_token=more)

    client = create_autospec(kfp.Client, instance=True)
    client.create_experiment.return_value = SimpleNamespace(experiment_id="experiment-1")
    client.create_run_from_pipeline_package.return_value = SimpleNamespace(run_id="run-1")
    client.list_runs.side_effect = list_runs
    monkeypatch.setattr(release, "PIPELINES", folder)
    monkeypatch.setattr(release, "_pipelines_client", lambda environment: client)
    return client


def test_retrain_starts_the_training_pipeline(compiled: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    client = _host(monkeypatch, compiled[0].parent)
    monkeypatch.setattr(release, "_commit", lambda project: "0123456789ab")
    environment = {"TAG": "build-7", "KFP_ENDPOINT": "https://kfp", "KFP_ACCOUNT": "pathcast-lifecycle"}
    result = CliRunner().invoke(app, ["retrain"], env=environment | {"KFP_NAMESPACE": "pathcast"})
    assert result.exit_code == 0, result.output
    client.create_experiment.assert_called_once_with("retrain", namespace="pathcast")
    client.create_run_from_pipeline_package.assert_called_once_with(
        str(compiled[1]),
        arguments={"force": True},
        run_name="continuous_training-build-7-0123456789ab",
        experiment_id="experiment-1",
        namespace="pathcast",
        service_account="pathcast-lifecycle",
    )


def test_training_has_changed_where_its_code_has(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        command = ["git", "-c", "user.name=n", "-c", "user.email=e", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.strip()

    def commit(file: str) -> str:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(file)
        git("add", ".")
        git("commit", "--quiet", "--message", file)
        return git("rev-parse", "HEAD")

    git("init", "--quiet")
    first, export = commit("docs/page.md"), commit("src/pathcast/export/onnx.py")
    # A later commit of something else does not hide a change whose build failed.
    page = commit("docs/other.md")
    assert [training_changed(since, tmp_path) for since in (first, export, page)] == [True, False, False]
    commit("requirements.lock")
    assert training_changed(page, tmp_path)
    assert training_changed("0" * 40, tmp_path)
    assert all((CHART.parents[1] / path).exists() for path in TRAINING_CODE)


_OLD, _NEW = "continuous_training-build-3-" + "a" * 12, "continuous_training-build-5-" + "b" * 12


@pytest.mark.parametrize(
    ("runs", "since"),
    [
        ((), None),
        ((("continuous_training-manual", "SUCCEEDED"),), None),
        (((_NEW, "SUCCEEDED"), (_OLD, "SUCCEEDED")), "b" * 12),
        (((_NEW, "RUNNING"), (_OLD, "SUCCEEDED")), "b" * 12),
        # What a run that failed was to train is still to be trained.
        (((_NEW, "FAILED"), (_OLD, "SUCCEEDED")), "a" * 12),
        (((_NEW, "CANCELED"), (_NEW, "FAILED"), (_NEW, "FAILED"), (_OLD, "SUCCEEDED")), "a" * 12),
        (((_NEW, "FAILED"), (_OLD, "FAILED")), None),
    ],
)
def test_the_commit_that_was_trained_is_that_of_the_last_run_that_did_not_fail(
    runs: tuple[tuple[str, str], ...], since: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert trained_commit(_host(monkeypatch, tmp_path, *runs), "experiment-1") == since


@pytest.mark.parametrize(("changed", "asked", "starts"), [(False, "false", 0), (False, "true", 1), (True, "false", 1)])
def test_training_starts_where_its_code_changed_since_the_last_run_or_somebody_asks(
    compiled: list[Path], monkeypatch: pytest.MonkeyPatch, changed: bool, asked: str, starts: int
) -> None:
    client = _host(monkeypatch, compiled[0].parent, (_OLD, "SUCCEEDED"))
    monkeypatch.setattr(release, "training_changed", lambda since, project: changed and since == "a" * 12)
    environment = {"KFP_ENDPOINT": "https://kfp", "RETRAIN": asked}
    result = CliRunner().invoke(app, ["retrain"], env=environment)
    assert result.exit_code == 0, result.output
    assert client.create_run_from_pipeline_package.call_count == starts


@pytest.mark.parametrize("arguments", [["deploy"], ["smoke", "test"], ["rollback", ""]])
def test_an_environment_must_be_named(arguments: list[str]) -> None:
    assert CliRunner().invoke(app, arguments, env={"ENVIRONMENT": ""}).exit_code == 2


def test_helm_knows_every_option() -> None:
    try:
        program = str(helm())
    except ToolMissing as error:
        print(f"\nhelm's options are NOT checked: {error}", file=sys.stderr)
        pytest.skip(f"helm's options are NOT checked: {error}")
    commands = [
        deploy_command(Environment.STAGING, DIGESTS, {}),
        smoke_command({}),
        rollback_command(_history("superseded", "deployed"), WHERE),
        rollback_command(_history("deployed"), WHERE),
    ]
    for _, verb, *rest in commands:
        text = subprocess.run([program, verb, "--help"], capture_output=True, text=True, check=True).stdout
        known = set(re.findall(r"--[a-z-]+", text))
        assert {part for part in rest if part.startswith("--")} <= known
