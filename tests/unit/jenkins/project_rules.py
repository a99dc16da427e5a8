"""What this project wants of its Jenkinsfile beyond the syntax: make targets, credentials, gates, and their order."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Any

from tests.unit.jenkins.blocks import Call, as_call, walk
from tests.unit.jenkins.declarative import sections
from tests.unit.jenkins.groovy import Tree

TARGETS_IN_ORDER = (
    *("check", "manifests", "quality", "unit", "networks", "integration"),
    *("images", "scan", "push", "compile", "upload"),
    *("deploy ENVIRONMENT=staging", "smoke ENVIRONMENT=staging", "retrain"),
    *("deploy ENVIRONMENT=production", "smoke ENVIRONMENT=production"),
)
"""The stages' commands; rollbacks stand in the posts."""
ONLY_ON_MAIN = {"push", "compile", "upload", "deploy", "smoke", "rollback", "retrain"}
NEEDS_CREDENTIALS = {
    "push": "pathcast-registry",
    "upload": "pathcast-pipelines-token",
    "retrain": "pathcast-pipelines-token",
    "deploy ENVIRONMENT=staging": "pathcast-staging-kubeconfig",
    "smoke ENVIRONMENT=staging": "pathcast-staging-kubeconfig",
    "deploy ENVIRONMENT=production": "pathcast-production-kubeconfig",
    "smoke ENVIRONMENT=production": "pathcast-production-kubeconfig",
}
_MAKE = re.compile(r"make ([a-z-]+(?: [A-Z]+=[a-z]+)?)")


@dataclass(frozen=True)
class Surroundings:
    """What the Jenkinsfile must agree with: the Makefile's targets, Jenkins' credentials, labels and users."""

    targets: Set[str]
    credentials: Set[str]
    labels: Set[str]
    users: Set[str]


@dataclass(frozen=True)
class Command:
    """One `sh` with the stages around it, outermost first; `post` is the condition that it stands under."""

    text: str
    stages: tuple[Call, ...]
    post: str | None


def project_problems(tree: Tree, surroundings: Surroundings) -> list[str]:
    """What is wrong with a Jenkinsfile that Jenkins itself would take."""
    pipeline = as_call(tree["statements"][0])
    assert pipeline is not None
    commands = list(_commands(pipeline, ()))
    return [
        *_known_commands(commands, surroundings.targets),
        *_order(commands),
        *_names(pipeline, surroundings),
        *_guards(commands),
        *_rollbacks(commands),
        *_reports(commands),
        *_stashes(pipeline),
        *_training(pipeline, commands),
        *_concurrency(pipeline, commands),
    ]


def make_targets(makefile: str) -> set[str]:
    """The targets of a Makefile's rules."""
    return {name for line in re.findall(r"(?m)^([a-z][a-z -]*):(?!=)", makefile) for name in line.split()}


def jenkins_surroundings(targets: Set[str], configuration: Mapping[str, Any]) -> Surroundings:
    """What Jenkins' own configuration as code offers."""
    listed = configuration["credentials"]["system"]["domainCredentials"][0]["credentials"]
    usable = {entry["id"] for kind in listed for entry in kind.values() if entry["scope"] == "GLOBAL"}
    jenkins = configuration["jenkins"]
    labels = {label for node in jenkins["nodes"] for label in node["permanent"]["labelString"].split()}
    return Surroundings(targets, usable, labels, {user["id"] for user in jenkins["securityRealm"]["local"]["users"]})


def _commands(block: Call, around: tuple[Call, ...], post: str | None = None) -> Iterator[Command]:
    for node in block.body or ():
        call = as_call(node)
        if call is None:
            continue
        if call.name == "sh":
            yield Command(str(call.argument("script")), around, post)
        elif call.name == "stage":
            yield from _commands(call, (*around, call))
        elif call.name == "post":
            for condition in sections(call).values():
                yield from _commands(condition, around, condition.name)
        else:
            yield from _commands(call, around, post)


def _known_commands(commands: list[Command], targets: Set[str]) -> Iterator[str]:
    for command in commands:
        match = _MAKE.fullmatch(command.text)
        if match is None:
            yield f"{command.text!r}: a step runs one make target"
        elif match[1].split()[0] not in targets:
            yield f"{command.text!r}: the Makefile has no such target"


def _order(commands: list[Command]) -> Iterator[str]:
    found = tuple(command.text.removeprefix("make ") for command in commands if command.post is None)
    if found != TARGETS_IN_ORDER:
        yield f"the stages run {', '.join(found)}; expected {', '.join(TARGETS_IN_ORDER)}"


def _names(pipeline: Call, surroundings: Surroundings) -> Iterator[str]:
    used = set()
    for node in walk(pipeline.body):
        call = as_call(node)
        if call is None or call.bare:
            continue
        if call.name == "credentials":
            used.add(call.argument("id"))
        elif "credentialsId" in call.named:
            used.add(call.argument("credentialsId"))
        elif call.name == "label" and call.argument("label") not in surroundings.labels:
            yield f"no agent has the label {call.argument('label')}"
        elif call.name == "submitter" and call.argument("submitter") not in surroundings.users:
            yield f"nobody is called {call.argument('submitter')}"
    wanted = surroundings.credentials - {"pathcast-repository"}
    yield from (f"credentials {name} are not in Jenkins' configuration" for name in sorted(used - wanted))
    yield from (f"credentials {name} are configured and not used" for name in sorted(wanted - used))


def _guards(commands: list[Command]) -> Iterator[str]:
    for command in commands:
        target = command.text.removeprefix("make ")
        inside = [sections(stage) for stage in command.stages]
        if target.split()[0] in ONLY_ON_MAIN and not any(_on_main(parts.get("when")) for parts in inside):
            yield f"{target}: not only on the branch main"
        if "ENVIRONMENT=production" in target:
            gates = [parts for parts in inside if "input" in parts]
            if not gates or "submitter" not in sections(gates[0]["input"]):
                yield f"{target}: nobody is asked before"
            elif sections(gates[0]["when"])["beforeInput"].argument("") is not True:
                yield f"{target}: other branches are asked too"
            elif not _limited(gates[0]):
                yield f"{target}: the gate waits for ever"
        wanted = NEEDS_CREDENTIALS.get(target)
        if wanted is not None and wanted not in _credentials_around(command):
            yield f"{target}: needs the credentials {wanted}"
        if not any(_limited(parts) for parts in inside):
            yield f"{target}: may run for ever"


def _limited(parts: Mapping[str | None, Call]) -> bool:
    return "options" in parts and "timeout" in sections(parts["options"])


def _on_main(when: Call | None) -> bool:
    return when is not None and "branch" in sections(when) and sections(when)["branch"].argument("pattern") == "main"


def _credentials_around(command: Command) -> set[object]:
    found: set[object] = set()
    for stage in command.stages:
        inside = sections(stage)
        blocks = [inside[name] for name in ("environment", "steps") if name in inside]
        calls = [as_call(node) for block in blocks for node in walk(block.body)]
        found |= {one.argument("id") for one in calls if one is not None and one.name == "credentials"}
        found |= {one.argument("credentialsId") for one in calls if one is not None and "credentialsId" in one.named}
    return found


def _rollbacks(commands: list[Command]) -> Iterator[str]:
    for environment in ("staging", "production"):
        smoke = [one for one in commands if one.text == f"make smoke ENVIRONMENT={environment}"]
        back = [one for one in commands if one.text == f"make rollback ENVIRONMENT={environment}"]
        if not smoke or not back:
            yield f"{environment}: no rollback"
        elif back[0].stages != smoke[0].stages or back[0].post != "unsuccessful":
            # `failure` alone would leave a build that was stopped or timed out half-way in place.
            yield f"{environment}: a smoke test that is not successful must roll back"


def _reports(commands: list[Command]) -> Iterator[str]:
    for command in commands:
        if command.text not in ("make unit", "make networks", "make integration"):
            continue
        kind = command.text.removeprefix("make ")
        inside = sections(command.stages[-1])
        options = (
            [node["right"].get("value") for node in (inside["environment"].body or ())]
            if "environment" in inside
            else []
        )
        wanted = (f"--junitxml=build/reports/{kind}.xml", f"--cov-report=xml:build/reports/{kind}.coverage")
        if not any(all(part in str(option).split() for part in wanted) for option in options):
            yield f"{kind}: pytest writes no reports"
        always = sections(inside["post"]).get("always") if "post" in inside else None
        published = sections(always) if always is not None else {}
        if "junit" not in published or published["junit"].argument("testResults") != f"build/reports/{kind}.xml":
            yield f"{kind}: test results are not published always"
        if "recordCoverage" not in published or f"{kind}.coverage" not in str(
            published["recordCoverage"].named["tools"]
        ):
            yield f"{kind}: coverage is not published always"


def _stashes(pipeline: Call) -> Iterator[str]:
    kept: set[object] = set()
    for node in walk(pipeline.body):
        call = as_call(node)
        if call is not None and call.name == "stash":
            kept.add(call.argument("name"))
        elif call is not None and call.name == "unstash" and call.argument("name") not in kept:
            yield f"unstash {call.argument('name')}: nothing of that name was stashed before"


def _training(pipeline: Call, commands: list[Command]) -> Iterator[str]:
    """`make retrain` itself compares with the commit that was trained last; it reads the parameter RETRAIN."""
    for command in commands:
        if command.text == "make retrain" and any(
            names & {"anyOf", "changeset", "expression"} for names in map(_conditions, command.stages)
        ):
            yield "retrain: a condition on this build's changes forgets those of a build that failed"
    given = [as_call(node) for node in walk(pipeline.body)]
    if not any(
        one is not None and one.name == "booleanParam" and one.argument("name", 9) == "RETRAIN" for one in given
    ):
        yield "retrain: nobody can ask for a training, the parameter RETRAIN is missing"


def _conditions(stage: Call) -> set[str | None]:
    when = sections(stage).get("when")
    calls = [as_call(node) for node in walk(when.body)] if when is not None else []
    return {one.name for one in calls if one is not None}


def _concurrency(pipeline: Call, commands: list[Command]) -> Iterator[str]:
    """Builds overtake each other at the gate, not inside an environment, and an older one never follows a newer one."""
    if "disableConcurrentBuilds" in sections(sections(pipeline)["options"]):
        yield "a build at the gate holds up every later one"
    for environment in ("staging", "production"):
        inside = [one for one in commands if one.text.endswith(f"ENVIRONMENT={environment}")]
        holders = [
            next((stage for stage in one.stages if _lock(stage) == f"pathcast-{environment}"), None) for one in inside
        ]
        if any(holder is None or holder is not holders[0] for holder in holders):
            yield f"{environment}: two builds may deploy and try at once"
        elif any(holder is not None and "input" in sections(holder) for holder in holders):
            yield f"{environment}: a build at the gate holds the lock"
        elif any(holder is not None and not _asks_before_it_waits(holder) for holder in holders):
            yield f"{environment}: builds that do not go there wait for the lock"
    for command in commands:
        if command.text.startswith("make deploy "):
            first = as_call((sections(command.stages[-1])["steps"].body or ({"kind": "none"},))[0])
            if first is None or first.name != "milestone":
                yield f"{command.text}: an older build may follow a newer one"
    passed = [as_call(node) for node in walk(pipeline.body)]
    ordinals = [one.argument("ordinal") for one in passed if one is not None and one.name == "milestone"]
    if ordinals != list(range(1, len(ordinals) + 1)):
        yield f"milestones: expected 1, 2, 3 in order, got {ordinals}"


def _asks_before_it_waits(stage: Call) -> bool:
    """A stage's options, its lock among them, come before its conditions unless it says otherwise."""
    conditions = _conditions(stage)
    return not conditions or "beforeOptions" in conditions


def _lock(stage: Call) -> object:
    options = sections(stage).get("options")
    lock = sections(options).get("lock") if options is not None else None
    return None if lock is None else lock.argument("resource")
