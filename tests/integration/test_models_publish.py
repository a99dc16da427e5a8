"""A model that comes with Pathcast, published from a folder that was copied to where no checkout is."""

import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pathcast.cli.main import app
from pathcast.core.settings import PlatformSettings
from pathcast.local.platform import Platform
from pathcast.registry.tracking import CHAMPION, ModelRegistry
from pathcast.serving.triton_client import TritonClient

pytestmark = pytest.mark.integration

MODELS = Path(__file__).parents[2] / "model_repo"
CARD = "# Signs of another town\n"


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder `signs` in the working directory, brought there as docs/operations.md brings one into a pod."""
    packed = subprocess.run(["tar", "-C", MODELS, "-cf", "-", "signs"], capture_output=True, check=True)
    subprocess.run(["tar", "-xf", "-"], cwd=tmp_path, input=packed.stdout, check=True)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "signs" / "README.md").write_text(CARD)
    return Path("signs")


def test_a_folder_is_published_and_served(
    platform: Platform, platform_settings: PlatformSettings, copied: Path
) -> None:
    place = ["--state-dir", str(platform.state_dir)]
    result = CliRunner().invoke(app, ["models", "publish", "signs", "--folder", str(copied), *place])
    assert result.exit_code == 0, result.output
    version = int(result.output.split()[2].rstrip(":"))
    assert result.output.strip().endswith(f"signs version {version}: served")
    assert ModelRegistry(platform_settings.mlflow_tracking_uri).alias("signs", CHAMPION) == version
    with TritonClient(platform_settings.triton_grpc) as client:
        assert client.ready("signs", str(version))
        assert client.canary("signs")
    shown = CliRunner().invoke(app, ["models", "show", "signs", *place]).output
    assert "Signs of another town" in shown


@pytest.mark.parametrize("missing", ["config.pbtxt", "README.md", "1/model.onnx"])
def test_a_folder_that_is_not_whole_is_refused(platform: Platform, copied: Path, missing: str) -> None:
    (copied / missing).unlink()
    arguments = ["models", "publish", "signs", "--folder", str(copied), "--state-dir", str(platform.state_dir)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code != 0
    assert str(copied / missing) in str(result.exception)
