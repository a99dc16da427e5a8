"""A Groovy tree read as Jenkins reads it: named blocks, their arguments, and what is inside."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.unit.jenkins.groovy import Tree

MISSING = object()


@dataclass(frozen=True)
class Value:
    """An argument: a constant as itself, else the node; `kind` says which."""

    kind: str
    node: Tree

    @property
    def constant(self) -> Any:
        return self.node["value"] if self.kind == "constant" else MISSING


@dataclass(frozen=True)
class Call:
    """`name(positional, named: …) { body }`; `on` where it is called on something."""

    name: str | None
    line: int
    positional: tuple[Value, ...]
    named: dict[str, Value]
    body: tuple[Tree, ...] | None
    bare: bool = field(default=False)

    def argument(self, name: str, position: int = 0) -> Any:
        """A constant argument by name or position; MISSING where there is none."""
        if name in self.named:
            return self.named[name].constant
        return self.positional[position].constant if len(self.positional) > position else MISSING


def as_call(node: Tree) -> Call | None:
    """The node as a call; a bare word is a call without arguments, as `input` is of `input()`."""
    if node["kind"] == "variable":
        return Call(node["name"], node["line"], (), {}, None, bare=True)
    if node["kind"] != "call" or node["on"] is not None:
        return None
    positional: list[Value] = []
    named: dict[str, Value] = {}
    body: tuple[Tree, ...] | None = None
    for argument in node["arguments"]:
        if argument["kind"] == "closure" and body is None:
            body = tuple(argument["statements"])
        elif argument["kind"] in ("map", "NamedArgumentListExpression"):
            named |= {str(entry["key"].get("value")): Value(entry["value"]["kind"], entry["value"])
                      for entry in argument.get("entries", ())}  # fmt: skip
        else:
            positional.append(Value(argument["kind"], argument))
    return Call(node["name"], node["line"], tuple(positional), named, body)


def walk(nodes: object) -> Iterator[Tree]:
    """All nodes below, in the order of the text."""
    if isinstance(nodes, dict):
        if "kind" in nodes:
            yield nodes
        for value in nodes.values():
            yield from walk(value)
    elif isinstance(nodes, (list, tuple)):
        for value in nodes:
            yield from walk(value)
