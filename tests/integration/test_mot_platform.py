"""The endpoint is part of the platform: there after `up`, listed, and put back by name."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from pathcast.cli.main import app
from pathcast.core.settings import PlatformSettings
from pathcast.local.platform import Platform
from pathcast.registry.mot import publish_mot
from pathcast.registry.repository import ModelRepository
from pathcast.serving.triton_client import TritonClient
from pathcast.storage.object_store import object_store

pytestmark = pytest.mark.integration


def run_cli(platform: Platform, *arguments: str) -> str:
    result = CliRunner().invoke(app, [*arguments, "--state-dir", str(platform.state_dir)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_a_platform_that_is_up_serves_it(platform: Platform, platform_settings: PlatformSettings) -> None:
    row = next(line for line in run_cli(platform, "models", "list").splitlines() if " mot " in line)
    assert [cell.strip() for cell in row.strip("│┃| ").replace("│", "|").split("|")] == ["mot", "1", "", "", "1"]
    with TritonClient(platform_settings.triton_grpc) as client:
        assert client.canary("mot")
        client.unload("mot")
        assert "mot version 1: served" in run_cli(platform, "models", "publish", "mot")
        assert client.canary("mot")
    assert "model.py" not in run_cli(platform, "models", "show", "mot")


def test_changed_code_is_a_new_version(
    platform_settings: PlatformSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = object_store(platform_settings)
    store.make_bucket("mot-test")
    repository = ModelRepository(store, "mot-test")
    try:
        assert [publish_mot(repository).version for _ in range(2)] == [1, 1]
        (tmp_path / "model.py").write_text("# another")
        monkeypatch.setattr("pathcast.registry.mot._CODE", tmp_path / "model.py")
        assert publish_mot(repository).version == 2
        assert [(item.version, item.file_name) for item in repository.versions("mot")] == [
            (1, "model.py"),
            (2, "model.py"),
        ]
        repository.fetch("mot", 2, tmp_path / "back.py")
        assert (tmp_path / "back.py").read_text() == "# another"
    finally:
        for item in store.list_objects("mot-test", recursive=True):
            store.remove_object("mot-test", item.object_name)
        store.remove_bucket("mot-test")
