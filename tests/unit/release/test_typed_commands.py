"""What the pages tell people to type is what shell, kubectl, helm, docker compose and pathcast understand."""

import ast
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest
import yaml
from typer.core import TyperCommand
from typer.testing import CliRunner

from deployments.compose.credentials import required_names
from deployments.images.build import IMAGES
from deployments.release import write_overlays
from pathcast.cli.main import app
from tests.manifests.tools import ToolMissing, compose, helm, kubectl
from tests.unit.release.shell_pages import Call, blocks, in_prose, typed

PROJECT = Path(__file__).resolve().parents[3]
PAGES = ("deployments/README.md", "docs/operations.md", "docs/jenkins.md", "helm/pathcast/README.md")
COMPOSE_IN = {"docs/operations.md": "deployments/compose", "docs/jenkins.md": "deployments/jenkins"}
NOBODY, NO_DOCKER = "http://127.0.0.1:9", "tcp://127.0.0.1:9"
UNREACHED = re.compile(r"127\.0\.0\.1:9\b.*refused|cluster unreachable|cannot connect to the docker", re.IGNORECASE)
# What is typed stands on what was typed before on another page, or is to be put in place of a name.
PREPARED = 'KFP_ENDPOINT=https://pipelines.example; admin="kubectl -n pathcast exec -i job/admin --"\n'
NAMES = {"POD": "pathcast-analyzer-0", "MODEL": "detector", "FAMILY": "detector", "CAMERA": "gate"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like the checkout, with what `make overlays` writes."""
    folder = tmp_path_factory.mktemp("typed")
    for name in ("model_repo", "helm"):
        (folder / name).symlink_to(PROJECT / name)
    # Secrets are written below it.
    shutil.copytree(PROJECT / "deployments", folder / "deployments", ignore=shutil.ignore_patterns("data", "secrets"))
    (values,) = re.findall(r"```yaml\n(.*?)```", (PROJECT / "helm/pathcast/README.md").read_text(), re.DOTALL)
    (folder / "my-values.yaml").write_text(values)
    for file, name in (("compose", ".env"), ("jenkins", "jenkins.env")):
        names = required_names((folder / "deployments" / file / "compose.yaml").read_text())
        (folder / "deployments" / file / name).write_text("".join(f"{wanted}=1:1\n" for wanted in names))
    digests = {name: "sha256:" + "0" * 64 for name in IMAGES}
    write_overlays(folder / "build" / "deployments", digests, {"REGISTRY": "registry.example"})
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "none", "cluster": {"server": NOBODY}}],
        "contexts": [{"name": "none", "context": {"cluster": "none", "user": "none"}}],
        "users": [{"name": "none", "user": {"token": "none"}}],
        "current-context": "none",
    }
    (folder / "kubeconfig").write_text(yaml.safe_dump(config))
    return folder


@cache
def calls(page: str, place: Path) -> list[Call]:
    """Everything that is called when a page's blocks, then its sentences, are typed."""
    try:
        program = kubectl()
    except ToolMissing as error:
        pytest.skip(f"what is typed is NOT tried: {error}")
    text = (PROJECT / page).read_text()
    said = [re.sub(r"\b[A-Z]+\b", lambda match: NAMES.get(match[0], match[0]), line) for line in in_prose(text)]
    found = typed(PREPARED + "\n".join(blocks(text)), place, program)
    assert found
    for line in said:
        folder = place / COMPOSE_IN[page] if line.startswith("docker") else place
        found += typed(f"cd {folder}; {PREPARED}{line}", place, program)
    return found


def refused(program: Path, call: Call, place: Path) -> str | None:
    """What the real program says where it does not get as far as a server that is not there."""
    arguments = call.arguments[1:] if call.program == "docker" else call.arguments
    done = subprocess.run(
        [program, *arguments], cwd=call.folder, input=call.given, capture_output=True, text=True, timeout=60,
        env={**os.environ, "KUBECONFIG": str(place / "kubeconfig"), "HOME": str(place), "DOCKER_HOST": NO_DOCKER},
    )  # fmt: skip
    well = done.returncode == 0 or UNREACHED.search(done.stderr)
    return None if well else f"{program.name} {' '.join(call.arguments)}: {done.stderr}"


@pytest.mark.parametrize("page", PAGES)
def test_the_programs_understand_what_is_typed(page: str, place: Path) -> None:
    programs = {"kubectl": kubectl, "helm": helm, "docker": compose}
    asked = [call for call in calls(page, place) if call.program in programs]
    assert all(call.arguments[0] == "compose" for call in asked if call.program == "docker")
    assert asked
    answers = [refused(programs[call.program](), call, place) for call in asked]
    assert [answer for answer in answers if answer] == []


def pathcast_calls(page: str, place: Path) -> list[Sequence[str]]:
    found = calls(page, place)
    alone = [call.arguments for call in found if call.program == "pathcast"]
    return alone + [call.inner[1:] for call in found if call.inner[:1] == ("pathcast",)]


@pytest.mark.parametrize("page", ["docs/operations.md", "deployments/README.md"])
def test_pathcast_understands_what_is_typed(page: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TyperCommand, "invoke", lambda self, context: None)
    asked = pathcast_calls(page, place)
    assert asked
    for arguments in asked:
        result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
        # A command that is named only lacks its arguments.
        named = len(arguments) <= 2 and "No such" not in result.output
        assert result.exit_code == 0 or named, f"pathcast {' '.join(arguments)}: {result.output}"


def test_scripts_for_pods_can_be_read(place: Path) -> None:
    inner = {call.inner[0]: call.given for call in calls("docs/operations.md", place) if call.given and call.inner}
    ast.parse(inner["python"])
    checked = subprocess.run(["bash", "-n"], input=inner["bash"], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
