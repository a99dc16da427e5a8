"""What people are told of a run that gave no new champion: why, who serves, and what they can do."""

from __future__ import annotations

from collections.abc import Sequence

from pathcast.monitoring.alerts import Message
from pathcast.registry.verdicts import Verdict

_AFTER_A_GATE = {
    "parity": "The export is wrong: see whether the exporter's packages have changed since a version that passed.",
    "metric": "Nothing has to be done; more or newer data (`--set days=…`) may help.",
    "latency": "Train a smaller network (`pathcast tune`), or give the family's gate a larger budget.",
    "smoke_test": "Look at Triton's log (`pathcast logs triton`): the file answers otherwise there than by itself.",
    "replay": "`pathcast replay --model {model} --version {version}` shows what would have changed for whom.",
}

_AFTER_A_STEP = {"validate_data": "take more (`--set days=…`) or ask for less (`--set min_samples=…`)"}


def failure_message(model: str, name: str, reason: str, champion: int | None) -> Message:
    """Of a run in which a step failed; `name` is the step's, as far as it is known."""
    return Message(
        f"Pathcast: a training of {model} failed",
        f"{name}: {reason}\n{_serves(model, champion)}\n"
        f"Next: {_AFTER_A_STEP.get(name, 'mend that')}, then `pathcast pipeline run continuous_training "
        f"--set family={model} --set force=true`; "
        f"`pathcast models show {model}` lists what failed.",
        {"event": "training_failed", "family": model, "step": name, "reason": reason, "champion": champion},
    )


def refusal_message(model: str, version: int, refused: Sequence[Verdict], champion: int | None) -> Message:
    """Of a version that gates keep from serving."""
    reasons = "; ".join(f"{verdict.gate}: {verdict.reason}" for verdict in refused)
    hints = [_AFTER_A_GATE.get(verdict.gate, "").format(model=model, version=version) for verdict in refused]
    return Message(
        f"Pathcast: {model} version {version} was refused",
        f"{reasons}\n{_serves(model, champion)}\n"
        f"Next: {' '.join(dict.fromkeys(hints))} `pathcast models compare {model}` shows both.",
        {"event": "version_refused", "family": model, "version": version, "reason": reasons, "champion": champion},
    )


def _serves(model: str, champion: int | None) -> str:
    return f"No version of {model} serves." if champion is None else f"Version {champion} serves on."
