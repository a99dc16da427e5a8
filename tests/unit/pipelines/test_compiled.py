"""Compiled pipelines: byte-stable, strictly parsed, every reference resolved, and every step's code importable."""

from __future__ import annotations

import ast
import os
import re
import sys
from importlib import import_module
from pathlib import Path

import pytest
import yaml
from google.protobuf import json_format
from kfp import compiler
from kfp.kubernetes.kubernetes_executor_config_pb2 import KubernetesExecutorConfig
from kfp.pipeline_spec import pipeline_spec_pb2
from pydantic import SecretStr

from pathcast.cli.pipeline import MAKE_MODELS, NAMES, drop_retries, load_pipeline
from pathcast.core.settings import PlatformSettings
from pathcast.monitoring.settings import MonitorSettings
from pathcast.training.pipeline_step import RUN
from pipelines.cluster import GPU, STEPS, USER, WORKSPACE

ROOT = Path(__file__).parents[3]
GOLDEN = ROOT / "tests" / "golden" / "pipelines"
COMPONENTS = sorted(path for path in (ROOT / "components").iterdir() if (path / "component.py").is_file())


@pytest.fixture(scope="module", params=NAMES)
def compiled(quick_kfp: None, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
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
    spec = spec_of(compiled)
    executors = set(spec.deployment_spec.fields["executors"].struct_value.fields)
    used: set[str] = set()
    for component in (spec.root, *spec.components.values()):
        if component.executor_label:
            used.add(component.executor_label)
        tasks = component.dag.tasks
        for task in tasks.values():
            assert task.component_ref.name in spec.components
            declared = spec.components[task.component_ref.name].input_definitions
            # The compiler hands what a placeholder in the resources names to the task beside its own inputs.
            assert set(task.inputs.parameters) <= {*declared.parameters, "accelerator_count", "pipelinechannel--gpus"}
            assert set(task.inputs.artifacts) <= set(declared.artifacts)
            for source in task.inputs.parameters.values():
                if source.WhichOneof("kind") == "component_input_parameter":
                    assert source.component_input_parameter in component.input_definitions.parameters
            for source in task.inputs.artifacts.values():
                if source.WhichOneof("kind") == "component_input_artifact":
                    assert source.component_input_artifact in component.input_definitions.artifacts
            for source in (*task.inputs.parameters.values(), *task.inputs.artifacts.values()):
                for kind in ("task_output_parameter", "task_output_artifact"):
                    if source.WhichOneof("kind") == kind:
                        assert getattr(source, kind).producer_task in tasks
            assert set(task.dependent_tasks) <= set(tasks)
    assert used == executors


def platform_of(path: Path) -> dict[str, KubernetesExecutorConfig]:
    """What each executor asks of Kubernetes; the document holds it as a free structure, so it is parsed twice."""
    _, platforms = yaml.safe_load_all(path.read_text())
    spec = json_format.ParseDict(platforms, pipeline_spec_pb2.PlatformSpec())
    assert set(spec.platforms) == {"kubernetes"}
    configs = platforms["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    return {name: json_format.ParseDict(config, KubernetesExecutorConfig()) for name, config in configs.items()}


def tasks_of(spec: pipeline_spec_pb2.PipelineSpec) -> dict[str, pipeline_spec_pb2.PipelineTaskSpec]:
    """Every task that is a step, by its executor."""
    return {
        spec.components[task.component_ref.name].executor_label: task
        for component in (spec.root, *spec.components.values())
        for task in component.dag.tasks.values()
        if spec.components[task.component_ref.name].executor_label
    }


def test_every_step_says_what_it_needs_of_a_cluster(compiled: Path) -> None:
    spec, platform = spec_of(compiled), platform_of(compiled)
    executors = spec.deployment_spec.fields["executors"].struct_value.fields
    tasks = tasks_of(spec)
    assert platform.keys() == executors.keys() == tasks.keys()
    for name, executor in executors.items():
        step, config, task = STEPS[name.removeprefix("exec-")], platform[name], tasks[name]
        container = json_format.MessageToDict(executor)["container"]
        assert container["resources"]["resourceMemoryLimit"] == step.memory
        assert config.active_deadline_seconds == step.minutes * 60
        who = config.security_context
        assert (who.run_as_user, who.run_as_group, who.run_as_non_root) == (USER, USER, True)
        assert task.caching_options.enable_cache is not step.acts
        assert task.retry_policy.max_retry_count == step.retries
        assert [mount.mount_path for mount in config.pvc_mount] == ([WORKSPACE] if step.workspace else [])
        assert ("accelerator" in container["resources"]) is step.gpu
        assert [toleration.key for toleration in config.tolerations] == ([GPU] if step.gpu else [])
        clients = {label for label in config.pod_metadata.labels if label.startswith("pathcast.io/")}
        assert clients == {f"pathcast.io/{server}-client" for server in step.uses}
        assert [field.name for field in config.field_path_as_env] == [RUN]
        plain = {entry["name"] for entry in container.get("env", ())}
        assert plain <= {"PATHCAST_TRAIN_IMAGE"}, "it would be set in a run on one machine too"
        variables = set(plain)
        variables |= {pair.env_var for each in config.secret_as_env for pair in each.key_to_env}
        variables |= {pair.env_var for each in config.config_map_as_env for pair in each.key_to_env}
        fields = PlatformSettings.model_fields.items()
        assert {f"PATHCAST_{key.upper()}" for key, field in fields if field.is_required()} <= variables, name


def test_who_ends_a_run_can_tell_people(compiled: Path) -> None:
    config = platform_of(compiled).get("exec-roll-back")
    assert (config is not None) is (compiled.stem in MAKE_MODELS)
    if config is None:
        return
    (alerts,) = [each for each in config.secret_as_env if each.secret_name == "pathcast-alerts"]
    assert alerts.optional, "without it the log alone is told"
    secrets = {f"PATHCAST_MONITOR_{name.upper()}" for name, field in MonitorSettings.model_fields.items()
               if field.annotation is SecretStr}  # fmt: skip
    assert {pair.env_var for pair in alerts.key_to_env} == secrets != set()


def test_a_run_on_one_machine_tries_no_step_twice(compiled: Path) -> None:
    spec = spec_of(compiled)
    assert any(task.HasField("retry_policy") for task in tasks_of(spec).values())
    drop_retries(spec)
    assert not any(task.HasField("retry_policy") for task in tasks_of(spec).values())


def test_the_table_of_steps_has_no_other_rows() -> None:
    assert STEPS.keys() == {path.name.replace("_", "-") for path in COMPONENTS}


def test_no_step_installs_anything_and_all_run_in_a_named_image(compiled: Path) -> None:
    executors = spec_of(compiled).deployment_spec.fields["executors"].struct_value.fields
    for name, executor in executors.items():
        container = json_format.MessageToDict(executor)["container"]
        assert container["image"] == "pathcast-train:0.1.0", name
        assert "pip install" not in " ".join(container["command"]), name


def imported(tree: ast.AST) -> set[str]:
    """The packages that a module imports when it is imported itself; what stands in a function waits for its call."""
    found: set[str] = set()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or ".").split(".")[0])
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            found |= imported(node)
    return found


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import os, numpy.linalg", {"os", "numpy"}),
        ("def later():\n    import numpy", set()),
        ("if True:\n    import numpy\nelse:\n    from pathcast import core", {"numpy", "pathcast"}),
        (
            "try:\n    import numpy\nexcept ImportError:\n    import scipy\nfinally:\n    import cv2",
            {"numpy", "scipy", "cv2"},
        ),
        ("class Early:\n    with open('x'):\n        import numpy", {"numpy"}),
        ("from . import sibling", {""}),
    ],
)
def test_what_a_module_imports_is_seen_wherever_it_stands(source: str, expected: set[str]) -> None:
    assert imported(ast.parse(source)) == expected


@pytest.mark.parametrize("folder", COMPONENTS, ids=lambda path: path.name)
def test_a_component_is_thin_documented_and_free_of_imports(folder: Path) -> None:
    tree = ast.parse((folder / "component.py").read_text())
    assert imported(tree) <= set(sys.stdlib_module_names) | {"kfp"}, f"{folder.name}: see what it imports when imported"
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert [function.name for function in functions] == [folder.name]


@pytest.mark.parametrize("folder", COMPONENTS, ids=lambda path: path.name)
def test_a_component_s_page_lists_its_inputs_and_outputs(folder: Path) -> None:
    spec = getattr(import_module(f"components.{folder.name}.component"), folder.name).component_spec
    listed = re.findall(r"^\| (input|output) \| `(\w+)` \| ([\w\[\]]+) \|", (folder / "README.md").read_text(), re.M)
    kinds = {"String": "str", "Integer": "int", "Float": "float", "Boolean": "bool", "List": "list", "Dict": "dict"}

    def shown(kind: str) -> str:
        return kinds.get(kind, kind.removeprefix("system.").partition("@")[0])

    inputs = [("input", name, shown(each.type)) for name, each in (spec.inputs or {}).items()]
    outputs = [("output", name, shown(each.type)) for name, each in (spec.outputs or {}).items()]
    assert sorted(listed) == sorted(inputs + outputs)


def test_every_component_is_used_by_a_pipeline() -> None:
    used = {
        executor.removeprefix("exec-").rsplit("-", 1)[0] if executor[-1].isdigit() else executor.removeprefix("exec-")
        for name in NAMES
        for executor in spec_of(GOLDEN / f"{name}.yaml").deployment_spec.fields["executors"].struct_value.fields
    }
    assert {path.name.replace("_", "-") for path in COMPONENTS} == used
