"""What declarative Pipeline allows, as its documentation gives it, and the steps that this project uses.

`problems(tree)` lists what Jenkins would refuse, or would fail on when the build gets there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tests.unit.jenkins.blocks import MISSING, Call, Value, as_call, walk
from tests.unit.jenkins.groovy import Tree

PIPELINE_SECTIONS = {"agent", "environment", "options", "parameters", "post", "stages", "tools", "triggers"}
STAGE_SECTIONS = {"agent", "environment", "failFast", "input", "options", "post", "tools", "when"}
STAGE_CONTENTS = ("steps", "stages", "parallel")
POST_CONDITIONS = {
    *("aborted", "always", "changed", "cleanup", "failure"),
    *("fixed", "regression", "success", "unstable", "unsuccessful"),
}
AGENTS = {"label", "node", "docker", "dockerfile", "kubernetes"}
PIPELINE_OPTIONS = {
    *("buildDiscarder", "checkoutToSubdirectory", "disableConcurrentBuilds", "disableResume", "newContainerPerStage"),
    *("overrideIndexTriggers", "parallelsAlwaysFailFast", "preserveStashes", "quietPeriod", "retry"),
    *("skipDefaultCheckout", "skipStagesAfterUnstable", "timeout", "timestamps"),
}
STAGE_OPTIONS = {"lock", "retry", "skipDefaultCheckout", "timeout", "timestamps"}
PARAMETERS = {"string": str, "text": str, "password": str, "booleanParam": bool, "choice": None}
TRIGGERS = {"cron", "pollSCM", "upstream"}
WHEN_ONCE = {"beforeAgent", "beforeInput", "beforeOptions"}
WHEN_NESTED = {"not", "allOf", "anyOf"}
WHEN_CONDITIONS = {
    *("branch", "buildingTag", "changelog", "changeRequest", "changeset"),
    *("environment", "equals", "expression", "isRestartedRun", "tag", "triggeredBy"),
}
INPUT = {"message": str, "id": str, "ok": str, "submitter": str, "submitterParameter": str}
TIME_UNITS = {"NANOSECONDS", "MICROSECONDS", "MILLISECONDS", "SECONDS", "MINUTES", "HOURS", "DAYS"}


@dataclass(frozen=True)
class Step:
    """A step: the parameter that may stand without its name, all parameters with their types, and what it needs."""

    first: str | None
    parameters: dict[str, type | str]
    required: tuple[str, ...] = ()
    block: bool = False
    node: bool = True


STEPS = {
    "archiveArtifacts": Step(
        "artifacts", {"artifacts": str, "allowEmptyArchive": bool, "fingerprint": bool}, ("artifacts",)
    ),
    "echo": Step("message", {"message": str}, ("message",), node=False),
    "milestone": Step("ordinal", {"ordinal": int}, ("ordinal",), node=False),
    "junit": Step("testResults", {"testResults": str, "allowEmptyResults": bool}, ("testResults",)),
    "recordCoverage": Step(None, {"id": str, "name": str, "tools": "list"}, ("tools",)),
    "sh": Step("script", {"script": str, "label": str}, ("script",)),
    "stash": Step("name", {"name": str, "includes": str}, ("name", "includes")),
    "unstash": Step("name", {"name": str}, ("name",)),
    "withCredentials": Step("bindings", {"bindings": "list"}, ("bindings",), block=True),
}
BINDINGS = {
    "usernamePassword": {"credentialsId", "usernameVariable", "passwordVariable"},
    "string": {"credentialsId", "variable"},
    "file": {"credentialsId", "variable"},
}

Problems = Iterator[str]


def problems(tree: Tree) -> list[str]:
    """What is wrong with the Jenkinsfile, each with its line; empty where Jenkins takes it."""
    if "error" in tree:
        return [f"not Groovy: {tree['error']}"]
    calls = [as_call(node) for node in tree["statements"]]
    if tree["methods"] or len(calls) != 1 or calls[0] is None or calls[0].name != "pipeline" or calls[0].body is None:
        return ["expected one `pipeline { }` and nothing beside it"]
    pipeline = calls[0]
    found = [*_pipeline(pipeline)]
    names = [call.argument("name") for call in stage_calls(pipeline)]
    found += [f"stage {name!r} is there twice" for name in sorted({n for n in names if names.count(n) > 1}, key=str)]
    return found


def stage_calls(call: Call) -> list[Call]:
    """All stages of a block, at any depth, in order."""
    found = [as_call(node) for node in walk(call.body)]
    return [one for one in found if one is not None and one.name == "stage"]


def sections(call: Call) -> dict[str | None, Call]:
    """The blocks and words directly inside a block."""
    inside = [as_call(node) for node in call.body or ()]
    return {one.name: one for one in inside if one is not None}


def _pipeline(pipeline: Call) -> Problems:
    yield from _only(pipeline, "pipeline", PIPELINE_SECTIONS, required=("agent", "stages"))
    inside = sections(pipeline)
    has_node = _gives_node(inside.get("agent"))
    yield from _common(inside, PIPELINE_OPTIONS, has_node)
    if "parameters" in inside:
        yield from _each(inside["parameters"], "parameters", _parameter)
    if "triggers" in inside:
        yield from _only(inside["triggers"], "triggers", TRIGGERS)
    if "stages" in inside:
        yield from _stages(inside["stages"], has_node, in_parallel=False)


def _stages(block: Call, has_node: bool, *, in_parallel: bool) -> Problems:
    yield from _each(block, block.name or "", lambda one: _stage(one, has_node, in_parallel), repeated=True)


def _stage(stage: Call, has_node: bool, in_parallel: bool) -> Problems:
    name = stage.argument("name")
    if stage.name != "stage" or stage.body is None:
        yield f"line {stage.line}: expected a stage, got `{stage.name}`"
        return
    if not isinstance(name, str) or not name or len(stage.positional) != 1 or stage.named:
        yield f"line {stage.line}: a stage has one name, a string"
    where = f"stage {name!r}"
    inside = sections(stage)
    contents = [content for content in STAGE_CONTENTS if content in inside]
    yield from _only(stage, where, STAGE_SECTIONS | set(STAGE_CONTENTS))
    if len(contents) != 1:
        yield f"line {stage.line}: {where}: expected one of {', '.join(STAGE_CONTENTS)}, got {contents or 'none'}"
    if "parallel" in inside:
        if in_parallel:
            yield f"line {stage.line}: {where}: parallel inside parallel"
        if "agent" in inside:
            yield f"line {stage.line}: {where}: a stage with parallel has no agent of its own"
    if "failFast" in inside:
        if "parallel" not in inside:
            yield f"line {stage.line}: {where}: failFast without parallel"
        if not isinstance(inside["failFast"].argument(""), bool):
            yield f"line {stage.line}: {where}: failFast is true or false"
    if "agent" in inside:
        has_node = _gives_node(inside["agent"])
    yield from _common(inside, STAGE_OPTIONS, has_node)
    if "when" in inside:
        yield from _when(inside["when"], where)
    if "input" in inside:
        yield from _input(inside["input"], where)
    if "steps" in inside:
        yield from _steps(inside["steps"], where, has_node)
    for content in ("stages", "parallel"):
        if content in inside:
            yield from _stages(inside[content], has_node, in_parallel=in_parallel or content == "parallel")


def _common(inside: dict[str | None, Call], options: set[str], has_node: bool) -> Problems:
    if "agent" in inside:
        yield from _agent(inside["agent"])
    if "options" in inside:
        yield from _each(inside["options"], "options", lambda one: _option(one, options))
    if "environment" in inside:
        yield from _environment(inside["environment"])
    if "post" in inside:
        yield from _each(inside["post"], "post", lambda one: _post(one, has_node))


def _gives_node(agent: Call | None) -> bool:
    return agent is not None and agent.body is not None or agent is not None and _word(agent) == "any"


def _word(agent: Call) -> str | None:
    return agent.positional[0].node.get("name") if len(agent.positional) == 1 else None


def _agent(agent: Call) -> Problems:
    if agent.body is None:
        if _word(agent) not in ("any", "none"):
            yield f"line {agent.line}: agent: expected any, none or a block"
        return
    yield from _only(agent, "agent", AGENTS)
    label = sections(agent).get("label")
    if label is not None and not _text(label.argument("label")):
        yield f"line {agent.line}: agent: label is a string"


def _option(option: Call, allowed: set[str]) -> Problems:
    if option.name not in allowed:
        yield f"line {option.line}: options: {option.name} is not known here"
    elif option.name == "timeout":
        time, unit = option.argument("time"), option.argument("unit", 1)
        if not isinstance(time, int) or isinstance(time, bool) or time <= 0:
            yield f"line {option.line}: timeout: time is a number above 0"
        if unit is not MISSING and unit not in TIME_UNITS:
            yield f"line {option.line}: timeout: unit {unit!r} is none of {', '.join(sorted(TIME_UNITS))}"
        if set(option.named) - {"time", "unit", "activity"}:
            yield f"line {option.line}: timeout: unknown argument among {', '.join(option.named)}"
    elif option.name == "buildDiscarder":
        yield from _discarder(option)
    elif option.name == "lock" and (set(option.named) != {"resource"} or not _text(option.argument("resource"))):
        yield f"line {option.line}: lock: expected a resource, a string"
    elif option.name in ("disableConcurrentBuilds", "timestamps") and (option.bare or option.positional):
        yield f"line {option.line}: options: {option.name} is written {option.name}()"


def _discarder(option: Call) -> Problems:
    inner = as_call(option.positional[0].node) if option.positional else None
    known = {"numToKeepStr", "daysToKeepStr", "artifactNumToKeepStr", "artifactDaysToKeepStr"}
    if inner is None or inner.name != "logRotator" or not inner.named or set(inner.named) - known:
        yield f"line {option.line}: buildDiscarder: expected logRotator with some of {', '.join(sorted(known))}"
    elif not all(_text(value.constant) and value.constant.isdecimal() for value in inner.named.values()):
        yield f"line {option.line}: logRotator: numbers are written as strings"


def _environment(block: Call) -> Problems:
    names = []
    if not block.body:
        yield f"line {block.line}: environment is empty"
    for node in block.body or ():
        if node["kind"] != "binary" or node["operator"] != "=" or node["left"]["kind"] != "variable":
            yield f"line {node['line']}: environment: expected NAME = value"
            continue
        names.append(node["left"]["name"])
        value = node["right"]
        call = as_call(value)
        if value["kind"] == "call" and call is not None and call.name == "credentials":
            if not _text(call.argument("id")) or len(call.positional) != 1:
                yield f"line {node['line']}: environment: credentials takes one id, a string"
        elif value["kind"] not in ("constant", "gstring") or (
            value["kind"] == "constant" and not _text(value["value"])
        ):
            yield f"line {node['line']}: environment: {names[-1]} is a string or credentials('id')"
    yield from (f"line {block.line}: environment: {name} twice" for name in set(names) if names.count(name) > 1)


def _parameter(parameter: Call) -> Problems:
    if parameter.name not in PARAMETERS:
        yield f"line {parameter.line}: parameters: {parameter.name} is not a kind of parameter"
        return
    if not _text(parameter.argument("name", 9)):
        yield f"line {parameter.line}: parameters: {parameter.name} needs a name"
    unknown = set(parameter.named) - {"name", "defaultValue", "description", "choices", "trim"}
    if unknown:
        yield f"line {parameter.line}: parameters: {', '.join(sorted(unknown))} is no argument of {parameter.name}"
    default, kind = parameter.argument("defaultValue", 9), PARAMETERS[parameter.name]
    if default is not MISSING and kind is not None and not isinstance(default, kind):
        yield f"line {parameter.line}: parameters: the default of a {parameter.name} is a {kind.__name__}"


def _when(block: Call, where: str) -> Problems:
    conditions = 0
    for node in block.body or ():
        call = as_call(node)
        if call is None or call.name not in WHEN_ONCE | WHEN_NESTED | WHEN_CONDITIONS:
            yield f"line {node['line']}: {where}: when: unknown condition {call.name if call else node['kind']}"
        elif call.name in WHEN_ONCE:
            if not isinstance(call.argument(""), bool):
                yield f"line {call.line}: {where}: when: {call.name} is true or false"
        elif call.name in WHEN_NESTED:
            conditions += 1
            if call.name == "not" and len(call.body or ()) != 1:
                yield f"line {call.line}: {where}: when: not takes one condition"
            yield from _when(call, where)
        else:
            conditions += 1
            if call.name == "expression":
                if not call.body:
                    yield f"line {call.line}: {where}: when: expression takes a block"
            elif call.name in ("branch", "changeset", "changelog", "triggeredBy") and not (
                _text(call.argument("pattern")) or call.named
            ):
                yield f"line {call.line}: {where}: when: {call.name} takes a string"
    if not conditions:
        yield f"line {block.line}: {where}: when without a condition"


def _input(block: Call, where: str) -> Problems:
    inside = sections(block)
    if block.body is None or not _text(inside["message"].argument("message") if "message" in inside else None):
        yield f"line {block.line}: {where}: input needs a message"
        return
    yield from _only(block, f"{where}: input", {*INPUT, "parameters"})
    for name, call in inside.items():
        if name in INPUT and not _text(call.argument("")):
            yield f"line {call.line}: {where}: input: {name} is a string"


def _post(condition: Call, has_node: bool) -> Problems:
    if condition.name not in POST_CONDITIONS:
        yield f"line {condition.line}: post: {condition.name} is not a condition"
        return
    yield from _steps(condition, f"post {condition.name}", has_node)


def _steps(block: Call, where: str, has_node: bool) -> Problems:
    if not block.body:
        yield f"line {block.line}: {where}: no step"
    for node in block.body or ():
        call = as_call(node)
        step = STEPS.get(call.name or "") if call is not None else None
        if call is None or step is None:
            yield f"line {node['line']}: {where}: {call.name if call else node['kind']} is none of this project's steps"
            continue
        if step.node and not has_node:
            yield f"line {call.line}: {where}: {call.name} needs an agent"
        yield from _step(call, step, where)
        if step.block:
            if call.name == "withCredentials":
                yield from _bindings(call, where)
            yield from _steps(call, f"{where}: {call.name}", has_node)


def _step(call: Call, step: Step, where: str) -> Problems:
    given = dict(call.named)
    if call.positional and step.first is not None and not given:
        given[step.first] = call.positional[0]
    if len(call.positional) > (0 if call.named or step.first is None else 1):
        yield f"line {call.line}: {where}: {call.name}: too many arguments"
    for name in step.required:
        if name not in given:
            yield f"line {call.line}: {where}: {call.name}: {name} is missing"
    for name, value in given.items():
        if name not in step.parameters:
            yield f"line {call.line}: {where}: {call.name} has no parameter {name}"
        elif not _fits(value, step.parameters[name]):
            yield f"line {call.line}: {where}: {call.name}: {name} is of the wrong kind"
    if (call.body is not None) != step.block:
        yield f"line {call.line}: {where}: {call.name}: a block {'is missing' if step.block else 'is not allowed'}"


def _bindings(call: Call, where: str) -> Problems:
    listed = call.positional[0].node.get("items", ()) if call.positional else ()
    for node in listed:
        binding = as_call(node)
        if binding is None or binding.name not in BINDINGS or set(binding.named) != BINDINGS[binding.name]:
            yield f"line {call.line}: {where}: withCredentials: expected one of {', '.join(BINDINGS)} with all it needs"
        elif not all(_text(value.constant) for value in binding.named.values()):
            yield f"line {call.line}: {where}: withCredentials: ids and variables are strings"


def _fits(value: Value, kind: type | str) -> bool:
    if kind == "list":
        return value.kind == "list" and bool(value.node["items"])
    # An empty text is never meant; a GString would put its values into a command line or a file name.
    return isinstance(value.constant, kind) and value.constant != ""  # type: ignore[arg-type]


def _each(block: Call, where: str, check: Callable[[Call], Problems], *, repeated: bool = False) -> Problems:
    """Check every entry; none at all, and where they do not repeat the same one twice, is a problem."""
    if not block.body:
        yield f"line {block.line}: {where} is empty"
    seen: list[str | None] = []
    for node in block.body or ():
        call = as_call(node)
        if call is None:
            yield f"line {node['line']}: {where}: expected a named entry, got {node['kind']}"
            continue
        if call.name in seen and not repeated and where != "parameters":
            yield f"line {call.line}: {where}: {call.name} twice"
        seen.append(call.name)
        yield from check(call)


def _only(block: Call, where: str, allowed: set[str], required: Sequence[str] = ()) -> Problems:
    """Only known entries, each once, and those that must be there."""
    seen: list[str | None] = []
    if not block.body:
        yield f"line {block.line}: {where} is empty"
    for node in block.body or ():
        call = as_call(node)
        if call is None or call.name not in allowed:
            yield f"line {node['line']}: {where}: {call.name if call else node['kind']} does not belong here"
        elif call.name in seen:
            yield f"line {node['line']}: {where}: {call.name} twice"
        if call is not None:
            seen.append(call.name)
    yield from (f"line {block.line}: {where}: {name} is missing" for name in required if name not in seen)


def _text(value: object) -> bool:
    return isinstance(value, str) and value != ""
