import re
from textwrap import dedent

import pytest
import yaml

from tests.manifests.checker import check
from tests.manifests.objects import DEPLOYMENTS, ROOT, at, kustomizations, parse, values_files
from tests.manifests.worlds import WORLDS, built, rendered, world

pytestmark = pytest.mark.usefixtures("crds")


@pytest.mark.parametrize("name", WORLDS)
def test_a_server_would_take_every_object(name: str) -> None:
    assert [str(fault) for fault in check(world(name))] == []


@pytest.mark.parametrize("values", values_files(), ids=lambda path: path.stem)
def test_a_server_would_take_the_chart_with_any_values(values) -> None:
    around = [item for folder in WORLDS["gpu"][0] for item in built(folder)]
    own = rendered(values)
    assert [str(fault) for fault in check(own, around)] == []


def test_a_server_would_take_the_pod_of_a_runbook() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    (text,) = re.findall(r"kubectl -n pathcast apply -f - <<END\n(.*?)\n   END\n", page, re.DOTALL)
    pod = yaml.safe_load(dedent(text).replace("$kafka", "kafka:1").replace("$stream", "pathcast-stream:1"))
    pod["metadata"]["namespace"] = "pathcast"
    assert [str(fault) for fault in check((pod,), world("gpu"))] == []


def test_every_folder_is_part_of_a_cluster() -> None:
    parts = {folder for folders, _ in WORLDS.values() for folder in folders}
    # The others are what these are made of.
    made_of = {"base", "overlays", "runtime"}
    for folder in kustomizations():
        name = folder.relative_to(DEPLOYMENTS).as_posix()
        assert name in parts or name.rpartition("/")[2] in made_of, f"{name} is checked in no cluster"


def test_every_file_is_plain_yaml_without_twice_the_same_key() -> None:
    files = [path for path in DEPLOYMENTS.rglob("*.yaml") if "compose" not in path.parts]
    files += (ROOT / "helm").rglob("ci/*.yaml")
    assert files
    for file in files:
        parse(file.read_text())


@pytest.mark.parametrize("name", ["cpu"])
def test_a_cluster_without_gpus_asks_for_none(name: str) -> None:
    assert "nvidia.com/gpu" not in str(world(name))


def test_no_secret_has_a_value() -> None:
    assert [at(item, "metadata", "name") for name in WORLDS for item in world(name) if item["kind"] == "Secret"] == []


def test_no_manifest_is_forgotten_by_its_kustomization() -> None:
    for folder in kustomizations():
        (listed,) = parse((folder / "kustomization.yaml").read_text())
        files = {path.name for path in folder.glob("*.yaml")} - {"kustomization.yaml"}
        assert files <= set(listed.get("resources", ())), folder
