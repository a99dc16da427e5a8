"""Compiled pipelines: byte-stable, strictly parsed, every reference resolved, and every step's code importable."""

from __future__ import annotations

import ast
import os
import sys
from pathlib import Path

import pytest
import yaml
from google.protobuf import json_format
from kfp import compiler
from kfp.pipeline_spec import pipeline_spec_pb2

from pathcast.cli.pipeline import NAMES, load_pipeline

ROOT = Path(__file__).parents[3]
GOLDEN = ROOT / "tests" / "golden" / "pipelines"
COMPONENTS = sorted(path for path in (ROOT / "components").iterdir() if (path / "component.py").is_file())


@pytest.fixture(scope="module", params=NAMES)
def compiled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("compiled") / f"{request.param}.yaml"
    compiler.Compiler().compile(load_pipeline(request.param), str(target))
    return target


def spec_of(path: Path) -> pipeline_spec_pb2.PipelineSpec:
    first = next(yaml.safe_load_all(path.read_text()))
    return json_format.ParseDict(first, pipeline_spec_pb2.PipelineSpec())  # unknown fields raise


def test_the_compiled_pipeline_is_the_golden_one(compiled: Path) -> None:
    golden = GOLDEN / compiled.name
    if os.environ.get("PATHCAST_GOLDEN") == "write":
        golden.parent.mkdir(parents=True, exist_ok=True)
        golden.write_text(compiled.read_text())
    assert compiled.read_text() == golden.read_text(), "make golden rewrites it after an intended change"


def test_every_document_is_known_and_every_reference_resolves(compiled: Path) -> None:
    documents = list(yaml.safe_load_all(compiled.read_text()))
    spec = spec_of(compiled)
    for platforms in documents[1:]:
        json_format.ParseDict(platforms, pipeline_spec_pb2.PlatformSpec())
    executors = set(spec.deployment_spec.fields["executors"].struct_value.fields)
    used: set[str] = set()
    for component in (spec.root, *spec.components.values()):
        if component.executor_label:
            used.add(component.executor_label)
        tasks = component.dag.tasks
        for task in tasks.values():
            assert task.component_ref.name in spec.components
            declared = spec.components[task.component_ref.name].input_definitions
            assert set(task.inputs.parameters) <= set(declared.parameters)
            assert set(task.inputs.artifacts) <= set(declared.artifacts)
            for source in (*task.inputs.parameters.values(), *task.inputs.artifacts.values()):
                for kind in ("task_output_parameter", "task_output_artifact"):
                    if source.WhichOneof("kind") == kind:
                        assert getattr(source, kind).producer_task in tasks
            assert set(task.dependent_tasks) <= set(tasks)
    assert used == executors


def test_no_step_installs_anything_and_all_run_in_a_named_image(compiled: Path) -> None:
    executors = spec_of(compiled).deployment_spec.fields["executors"].struct_value.fields
    for name, executor in executors.items():
        container = json_format.MessageToDict(executor)["container"]
        assert container["image"] == "pathcast-train:0.1.0", name
        assert "pip install" not in " ".join(container["command"]), name


@pytest.mark.parametrize("folder", COMPONENTS, ids=lambda path: path.name)
def test_a_component_is_thin_documented_and_free_of_imports(folder: Path) -> None:
    tree = ast.parse((folder / "component.py").read_text())
    allowed = set(sys.stdlib_module_names) | {"kfp"}
    for node in tree.body:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert all(name.split(".")[0] in allowed for name in names), f"{folder.name} imports {names} at module level"
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert [function.name for function in functions] == [folder.name]
    page = (folder / "README.md").read_text()
    for argument in functions[0].args.args:
        assert f"`{argument.arg}`" in page, f"{folder.name}/README.md does not name {argument.arg}"


def test_every_component_is_used_by_a_pipeline() -> None:
    used = {
        executor.removeprefix("exec-").rsplit("-", 1)[0] if executor[-1].isdigit() else executor.removeprefix("exec-")
        for name in NAMES
        for executor in spec_of(GOLDEN / f"{name}.yaml").deployment_spec.fields["executors"].struct_value.fields
    }
    assert {path.name.replace("_", "-") for path in COMPONENTS} == used
