"""What came out of a pipeline's run on this machine: a model's version with its gates, or what the run returned."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pathcast.core.clock import SystemClock

if TYPE_CHECKING:
    from rich.console import Console

    from pathcast.core.settings import PlatformSettings


class ModelOutcome:
    """A family's registry before the run, which is when this is made, and after it."""

    def __init__(self, settings: PlatformSettings, family: str) -> None:
        from pathcast.registry.publishing import ModelLifecycle
        from pathcast.training.family import find_family

        self._model, self._lifecycle = find_family(family).name, ModelLifecycle(settings)
        self._began = SystemClock().now()
        self._before = self._lifecycle.champion(self._model)
        self._newest = self._lifecycle.newest(self._model)

    def facts(self) -> dict[str, Any]:
        """`version` and `gates` are those of the version that the run made, if any; `failures` what else it noted."""
        version = self._lifecycle.newest(self._model)
        made = None if version == self._newest else version
        verdicts = [] if made is None else self._lifecycle.verdicts(self._model, made)
        return {
            "model": self._model,
            "version": made,
            "champion_before": self._before,
            "champion": self._lifecycle.champion(self._model),
            "gates": {verdict.gate: {"passed": verdict.passed, "reason": verdict.reason} for verdict in verdicts},
            "failures": {
                each.name: each.reason for each in self._lifecycle.failures(self._model) if each.at >= self._began
            },
        }

    def show(self, console: Console, facts: Mapping[str, Any]) -> None:
        """Print the gates, what failed, and who is champion now."""
        from rich.table import Table

        new = facts["version"]
        table = Table(
            title=f"{facts['pipeline']}: {facts['model']} " + (f"version {new}" if new else "without a version")
        )
        table.add_column("gate or step")
        table.add_column("passed")
        table.add_column("why", overflow="fold")
        for gate, verdict in facts["gates"].items():
            table.add_row(gate, "✓" if verdict["passed"] else "✗", verdict["reason"])
        for name, reason in facts["failures"].items():
            table.add_row(name, "✗", reason)
        console.print(table)
        before, after = facts["champion_before"], facts["champion"]
        change = f"is still version {after}" if before == after else f"was version {before}, is now version {after}"
        console.print(f"the champion {change}; {facts['duration_s']:.0f} s in all", markup=False, highlight=False)


class ResultOutcome:
    """What the pipeline function returns."""

    def __init__(self, returned: Mapping[str, Any]) -> None:
        self._returned = returned

    def facts(self) -> dict[str, Any]:
        """The pipeline's output, under `result`; nothing where the run failed."""
        return {"result": _whole(self._returned.get("Output"))}

    def show(self, console: Console, facts: Mapping[str, Any]) -> None:
        """Print one row for each value of the result."""
        from rich.table import Table

        table = Table(title=f"{facts['pipeline']}: done in {facts['duration_s']:.0f} s", show_header=False)
        table.add_column("what")
        table.add_column("value", overflow="fold")
        result = facts["result"]
        rows = result.items() if isinstance(result, dict) else enumerate(result or (), start=1)
        for key, value in rows:
            table.add_row(str(key), value if isinstance(value, str) else json.dumps(value))
        console.print(table)


def _whole(value: Any) -> Any:
    """The value with whole numbers as such: a pipeline hands all its numbers on as floats."""
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
