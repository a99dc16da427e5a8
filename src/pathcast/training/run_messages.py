"""What people are told of a run that gave no new champion: why, who serves, and what they can do."""

from __future__ import annotations

from collections.abc import Sequence

from pathcast.core.errors import PathcastError
from pathcast.monitoring.outbox import Message
from pathcast.registry.verdicts import Verdict

_AFTER_A_GATE = {
    "parity": "The export is wrong: see whether the exporter's packages have changed since a version that passed.",
    "metric": "Nothing has to be done; more or newer data (`--set days=…`) may help.",
    "latency": "Train a smaller network (`pathcast tune`), or give the family's gate a larger budget.",
    "smoke_test": "Look at Triton's log (`pathcast logs triton`): the file answers otherwise there than by itself.",
    "replay": "`pathcast replay --model {model} --version {version}` shows what would have changed for whom.",
    "in_service": "Nothing has to be done: people have rolled it back, and it is not promoted again.",
}

_SHOWN = 5
_AFTER_A_STEP = {"validate_data": "take more (`--set days=…`) or ask for less (`--set min_samples=…`)"}


Failed = tuple[str, str]
"""The name of a step, or of a run, and why it failed."""


def failure_message(
    model: str, failures: Sequence[Failed], champion: int | None, *, champion_known: bool = True
) -> Message:
    """Of what failed in training the model, what says most first; at least one."""
    (name, reason), *others = failures
    serves = _serves(model, champion) if champion_known else "The champion of before is to serve on."
    return Message(
        f"Pathcast: a training of {model} failed",
        f"{name}: {reason}\n{_also(others)}{serves}\n"
        f"Next: {_AFTER_A_STEP.get(name, 'mend that')}, then `pathcast pipeline run continuous_training "
        f"--set family={model} --set force=true`; "
        f"`pathcast models show {model}` lists what failed.",
        {
            "event": "training_failed",
            "family": model,
            "step": name,
            "reason": reason,
            "champion": champion,
            "failures": [list(each) for each in failures],
        },
    )


def refusal_message(
    model: str, version: int, refused: Sequence[Verdict], champion: int | None, failures: Sequence[Failed] = ()
) -> Message:
    """Of a version that gates keep from serving, and of what failed besides."""
    reasons = "; ".join(f"{verdict.gate}: {verdict.reason}" for verdict in refused)
    hints = [_AFTER_A_GATE.get(verdict.gate, "").format(model=model, version=version) for verdict in refused]
    return Message(
        f"Pathcast: {model} version {version} was refused",
        f"{reasons}\n{_also(failures)}{_serves(model, champion)}\n"
        f"Next: {' '.join(dict.fromkeys(hints))} `pathcast models compare {model}` shows both.",
        {
            "event": "version_refused",
            "family": model,
            "version": version,
            "reason": reasons,
            "champion": champion,
            "failures": [list(each) for each in failures],
        },
    )


def astray_message(model: str, difference: str, champion: int | None, problem: PathcastError | None) -> Message:
    """Of a Triton that did not serve the registry's champion, and of the `problem` that keeps it from doing so."""
    if problem is None:
        outcome = f"{_serves(model, champion)}\nNext: look for what was killed or has switched Triton by hand."
    else:
        outcome = f"It does not yet: {problem.message}\nNext: `pathcast models promote {model} {champion}`."
    return Message(
        f"Pathcast: Triton did not serve the champion of {model}",
        f"{difference}. {outcome}",
        {
            "event": "champion_astray",
            "family": model,
            "champion": champion,
            "reason": difference,
            "mended": not problem,
        },
    )


def _also(failures: Sequence[Failed]) -> str:
    shown = [f"{name}: {reason}" for name, reason in failures[:_SHOWN]]
    more = [f"{len(failures) - _SHOWN} more"] if len(failures) > _SHOWN else []
    return f"Also failed: {'; '.join([*shown, *more])}\n" if failures else ""


def _serves(model: str, champion: int | None) -> str:
    return f"No version of {model} serves." if champion is None else f"Version {champion} serves on."
