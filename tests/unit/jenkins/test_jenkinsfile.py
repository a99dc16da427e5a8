"""The Jenkinsfile as Jenkins reads it, and that the checks would notice if it were wrong."""

import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.unit.jenkins.declarative import STEPS, problems
from tests.unit.jenkins.groovy import GroovyMissing, Tree, parse
from tests.unit.jenkins.project_rules import jenkins_surroundings, make_targets, project_problems

PROJECT = Path(__file__).resolve().parents[3]
JENKINS = PROJECT / "deployments" / "jenkins"
JENKINSFILE = (PROJECT / "Jenkinsfile").read_text()
CONFIGURATION = yaml.safe_load((JENKINS / "jenkins.yaml").read_text())
# Comes with the pipelines themselves.
AWAITED: frozenset[str] = frozenset()

CORRUPTIONS = tomllib.loads((Path(__file__).with_name("corruptions.toml")).read_text())["corruption"]


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> list[Tree]:
    """The Jenkinsfile, its corrupted versions, and the job's definition, parsed by one run of Groovy."""
    for one in CORRUPTIONS:
        assert one["old"] in JENKINSFILE, f"nothing to corrupt: {one['old']!r}"
    texts = [JENKINSFILE, *(JENKINSFILE.replace(one["old"], one["new"], 1) for one in CORRUPTIONS)]
    try:
        return parse([*texts, (JENKINS / "jobs.groovy").read_text()], tmp_path_factory.mktemp("groovy"))
    except GroovyMissing as error:
        reason = f"the Jenkinsfile is NOT checked: {error}"
        print(f"\n{reason}", file=sys.stderr)
        pytest.skip(reason)


@pytest.fixture(scope="module")
def all_problems() -> Callable[[Tree], list[str]]:
    targets = make_targets((PROJECT / "Makefile").read_text()) | AWAITED
    surroundings = jenkins_surroundings(targets, CONFIGURATION)

    def check(tree: Tree) -> list[str]:
        return problems(tree) or project_problems(tree, surroundings)

    return check


def test_the_jenkinsfile_has_no_problem(trees: list[Tree], all_problems: Callable[[Tree], list[str]]) -> None:
    assert all_problems(trees[0]) == []


@pytest.mark.parametrize("number", range(len(CORRUPTIONS)))
def test_a_corrupted_jenkinsfile_is_noticed(
    trees: list[Tree], all_problems: Callable[[Tree], list[str]], number: int
) -> None:
    assert all_problems(trees[1 + number]), CORRUPTIONS[number]


def test_the_job_is_defined_in_groovy(trees: list[Tree]) -> None:
    job = trees[-1]["statements"]
    assert [node["name"] for node in job] == ["multibranchPipelineJob"]


def test_every_step_comes_from_a_plugin_that_is_installed() -> None:
    plugins = (JENKINS / "controller" / "plugins.txt").read_text().split()
    of_step = {
        "archiveArtifacts": "workflow-aggregator",
        "echo": "workflow-aggregator",
        "junit": "junit",
        "milestone": "pipeline-milestone-step",
        "recordCoverage": "coverage",
        "sh": "workflow-aggregator",
        "stash": "workflow-aggregator",
        "unstash": "workflow-aggregator",
        "withCredentials": "credentials-binding",
    }
    assert of_step.keys() == STEPS.keys()
    assert set(of_step.values()) <= set(plugins)
    assert {
        "pipeline-model-definition",
        "timestamper",
        "workflow-multibranch",
        "job-dsl",
        "git",
        "lockable-resources",
    } <= set(plugins)


def test_secrets_are_files_and_none_is_in_the_repository() -> None:
    text = (JENKINS / "jenkins.yaml").read_text()
    secret_keys = ("password", "secret", "privateKey", "secretBytes")
    values = [line.split(":", 1)[1].strip() for line in text.splitlines() if line.strip().split(":")[0] in secret_keys]
    assert len(values) == 8
    assert all(value.startswith("${readFile") for value in values)
    compose = yaml.safe_load((JENKINS / "compose.yaml").read_text())
    used = {
        part.split("/run/secrets/")[1].rstrip("}") for part in text.split() if "/run/secrets/" in part and "$" in part
    }
    assert used == set(compose["services"]["controller"]["secrets"]) == set(compose["secrets"])
