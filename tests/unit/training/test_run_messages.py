"""What people read when a training run gave no new champion, or the champion did not serve."""

from __future__ import annotations

import pytest

from pathcast.core.errors import ServiceUnavailableError
from pathcast.registry.verdicts import Verdict
from pathcast.training.run_messages import astray_message, failure_message, refusal_message


def test_a_failure_says_which_step_why_who_serves_and_what_next() -> None:
    message = failure_message("forecaster", [("train_model", "the loss of epoch 1 is not finite")], 3)
    assert message.title == "Pathcast: a training of forecaster failed"
    assert message.text.splitlines()[:2] == ["train_model: the loss of epoch 1 is not finite", "Version 3 serves on."]
    assert "Next: mend that, then `pathcast pipeline run continuous_training --set family=forecaster" in message.text
    assert message.facts["event"] == "training_failed"
    assert "No version of toy serves." in failure_message("toy", [("run", "why")], None).text
    unknown = failure_message("toy", [("run", "why")], None, champion_known=False)
    assert "The champion of before is to serve on." in unknown.text


@pytest.mark.parametrize(
    ("gate", "hint"),
    [
        ("parity", "The export is wrong"),
        ("metric", "Nothing has to be done"),
        ("latency", "Train a smaller network"),
        ("smoke_test", "pathcast logs triton"),
        ("replay", "`pathcast replay --model forecaster --version 4`"),
        ("in_service", "Nothing has to be done: people have rolled it back"),
    ],
)
def test_a_refusal_says_what_each_gate_calls_for(gate: str, hint: str) -> None:
    message = refusal_message("forecaster", 4, [Verdict(gate, False, "worse than it may be")], 3)
    assert message.title == "Pathcast: forecaster version 4 was refused"
    assert f"{gate}: worse than it may be" in message.text
    assert "Version 3 serves on." in message.text
    assert hint in message.text
    assert message.facts["version"] == 4


def test_a_champion_that_did_not_serve_is_said_to_serve_again_or_how_it_can() -> None:
    mended = astray_message("toy", "Triton at t:8001 did not serve version 3", 3, None)
    assert mended.text.startswith(
        "Triton at t:8001 did not serve version 3. Version 3 serves on.\nNext: look for what "
    )
    problem = ServiceUnavailableError("the object store failed")
    still = astray_message("toy", "Triton at t:8001 did not serve version 3", 3, problem)
    assert "It does not yet: the object store failed\nNext: `pathcast models promote toy 3`." in still.text
    assert (mended.facts["mended"], still.facts["mended"]) == (True, False)


def test_what_failed_besides_is_not_hidden() -> None:
    failures = [(f"step_{number}", f"reason {number}") for number in range(7)]
    alone = failure_message("toy", failures[:2], 1)
    assert alone.text.splitlines()[:2] == ["step_0: reason 0", "Also failed: step_1: reason 1"]
    refused = refusal_message("toy", 2, [Verdict("metric", False, "worse")], 1, failures)
    assert refused.text.splitlines()[1].startswith("Also failed: step_0: reason 0; step_1: reason 1; ")
    assert refused.text.splitlines()[1].endswith("step_4: reason 4; 2 more")
    assert refused.facts["failures"] == [list(each) for each in failures]
