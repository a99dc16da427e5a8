"""Gates: better models pass, worse ones do not, and noise is not taken for progress."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from scipy import stats

from pathcast.core.errors import InvalidInputError, ServiceUnavailableError
from pathcast.registry.gates import latency_gate, metric_gate, parity_gate, smoke_gate
from pathcast.registry.verdicts import Verdict, failed, read_verdicts, verdict_tags
from pathcast.training.family import Evaluation, Gate

ERROR = Gate(metric="ade", higher_is_better=False, tolerance=0.01, latency_ms=50.0)
ACCURACY = Gate(metric="accuracy", higher_is_better=True, tolerance=0.005, latency_ms=50.0)


def evaluation(metric: str, values: np.ndarray, groups: np.ndarray | None = None) -> Evaluation:
    return Evaluation(
        {metric: float(values.mean())}, len(values), lambda chosen: float(values[chosen].mean()), groups=groups
    )


def test_the_data_may_say_which_metric_counts() -> None:
    right = np.array([1, 1, 1, 0] * 5, np.float64)
    both = {"accuracy": 0.2, "macro_f1": 0.75}
    better = Evaluation(both, 20, lambda chosen: float(right[chosen].mean()), "macro_f1")
    worse = Evaluation({"accuracy": 0.9, "macro_f1": 0.0}, 20, lambda chosen: 0.0, "macro_f1")
    verdict = metric_gate(ACCURACY, better, worse)
    assert verdict.passed
    assert verdict.numbers["macro_f1"] == 0.75


def errors(mean: float, count: int = 400, spread: float = 0.1, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, spread, count)


BASE = errors(0.5)


@pytest.mark.parametrize(
    ("gate", "challenger", "champion", "passed"),
    [
        (ERROR, BASE - 0.05, BASE, True),
        (ERROR, BASE + 0.05, BASE, False),
        (ERROR, BASE, BASE, False),  # nothing gained
        (ERROR, BASE + 0.001, BASE, False),
        (ERROR, errors(0.499, 20, 0.4, 2), errors(0.5, 20, 0.4, 3), False),  # better or not: too few to tell
        (ACCURACY, BASE + 0.05, BASE, True),
        (ACCURACY, BASE - 0.05, BASE, False),
    ],
)
def test_the_metric_gate(gate: Gate, challenger: np.ndarray, champion: np.ndarray, passed: bool) -> None:
    verdict = metric_gate(gate, evaluation(gate.metric, challenger), evaluation(gate.metric, champion))
    assert verdict.passed is passed
    assert verdict.numbers["gain_low"] <= verdict.numbers["gain_high"]
    assert f"{verdict.numbers['champion']:.4g}" in verdict.reason


def test_the_first_model_has_no_champion_to_beat() -> None:
    assert metric_gate(ERROR, evaluation("ade", BASE), None).passed


def test_models_scored_on_different_samples_are_not_compared() -> None:
    with pytest.raises(InvalidInputError, match="same samples, got 400 and 399"):
        metric_gate(ERROR, evaluation("ade", BASE), evaluation("ade", BASE[1:]))


@pytest.mark.parametrize(
    ("groups", "passed", "part"),
    [
        (np.arange(400), True, "in 400 groups"),
        (np.repeat(np.arange(20), 20), True, "in 20 groups"),
        (np.repeat([7, *range(100, 119)], 20)[::-1], True, "in 20 groups"),  # any numbers, in any order
        (np.append(np.arange(19), np.full(381, 19)), True, "in 20 groups"),  # of any size
        (np.arange(400) % 2, True, "in 2 groups: gain 0.05 [0.05, 0.05]"),
        (np.zeros(400), False, "in 1 group: gain 0.05, expected 2 groups or more"),
    ],
)
def test_a_gain_is_told_by_two_groups_or_more(groups: np.ndarray, passed: bool, part: str) -> None:
    verdict = metric_gate(ERROR, evaluation("ade", BASE - 0.05, groups), evaluation("ade", BASE, groups))
    assert verdict.passed is passed
    assert part in verdict.reason
    assert verdict.numbers["groups"] == len(set(groups.tolist()))


def test_groups_that_differ_or_do_not_fit_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="in the same groups, got different ones"):
        metric_gate(ERROR, evaluation("ade", BASE, np.arange(400) // 2), evaluation("ade", BASE))
    with pytest.raises(InvalidInputError, match=r"groups: expected shape \(400,\), got \(399,\)"):
        evaluation("ade", BASE, np.arange(399))


@given(st.lists(st.integers(0, 30), min_size=2, max_size=80), st.integers(0, 9))
@settings(max_examples=15, deadline=None)
def test_whole_groups_are_drawn_and_the_same_ones_for_both(numbers: list[int], seed: int) -> None:
    groups = np.array(numbers)
    assume(len(set(numbers)) > 1)
    drawn: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])

    def noting(place: int) -> Evaluation:
        return Evaluation({"ade": 1.0}, len(groups), lambda chosen: float(drawn[place].append(chosen) or 1), "", groups)

    metric_gate(ERROR, noting(0), noting(1), seed=seed)
    for one, other in zip(*drawn, strict=True):
        assert np.array_equal(one, other)
        counts = np.bincount(one, minlength=len(groups))
        times = {number: set(counts[groups == number].tolist()) for number in set(numbers)}
        assert all(len(each) == 1 for each in times.values())
        assert sum(max(each) for each in times.values()) == len(times)


@given(st.integers(2, 60), st.integers(0, 9), st.integers(1, 5))
@settings(max_examples=15, deadline=None)
def test_of_single_samples_it_is_the_t_interval(count: int, seed: int, step: int) -> None:
    """But for the bootstrap's own noise, a few percent of its width."""
    before, after = errors(0.5, count, seed=seed), errors(0.49, count, seed=seed + 10)
    groups = np.arange(count) * step
    verdict = metric_gate(ERROR, evaluation("ade", after, groups), evaluation("ade", before, groups), seed=seed)
    mean, error = (before - after).mean(), stats.sem(before - after)
    low, high = stats.t.interval(0.9, count - 1, mean, error)
    width = high - low
    assert (verdict.numbers["gain_low"], verdict.numbers["gain_high"]) == pytest.approx((low, high), abs=0.05 * width)
    assert verdict == metric_gate(ERROR, evaluation("ade", after), evaluation("ade", before), seed=seed)


@pytest.mark.parametrize("count", [3, 10, 40])
def test_a_worse_model_passes_as_seldom_as_the_gate_says_where_samples_resemble_each_other(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tracks of 1 to 30 windows; the challenger is worse by the tolerance."""
    monkeypatch.setattr("pathcast.registry.gates.RESAMPLES", 100)
    random = np.random.default_rng(3)
    beyond = {"tracks": 0, "windows": 0}
    draws = 200
    for _ in range(draws):
        tracks = np.repeat(np.arange(count), random.integers(1, 31, count))
        gain = -ERROR.tolerance + random.normal(0, 0.1, count)[tracks] + random.normal(0, 0.05, len(tracks))
        champion = random.normal(0.5, 0.1, len(tracks))
        for name, groups in (("tracks", tracks), ("windows", None)):
            both = (evaluation("ade", values, groups) for values in (champion - gain, champion))
            beyond[name] += metric_gate(ERROR, *both).numbers["gain_low"] > -ERROR.tolerance
    assert 0.02 <= beyond["tracks"] / draws <= 0.09
    assert beyond["windows"] / draws > 0.25


def test_the_same_seed_gives_the_same_verdict() -> None:
    first, second = (metric_gate(ERROR, evaluation("ade", BASE - 0.01), evaluation("ade", BASE)) for _ in range(2))
    assert first == second


@pytest.fixture(scope="module")
def doubling(tmp_path_factory: pytest.TempPathFactory) -> Path:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "g", values[:1], values[1:])
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.mark.parametrize(("budget_ms", "passed"), [(1e6, True), (0.0, False)])
def test_the_latency_gate(doubling: Path, budget_ms: float, passed: bool) -> None:
    gate = Gate(metric="ade", higher_is_better=False, tolerance=0.0, latency_ms=budget_ms, batch=64)
    verdict = latency_gate(gate, doubling, {"x": np.ones((2, 3), np.float32)})
    assert verdict.passed is passed
    assert verdict.numbers["latency_ms"] > 0


WRONG = [
    ({}, "output y: expected shape (2, 3), got nothing"),
    ({"y": np.ones((3, 2))}, "got (3, 2)"),
    ({"y": np.full((2, 3), 1.1)}, "50"),  # 0.002 are allowed
    ({"y": np.full((2, 3), np.nan)}, "nan"),
]


@pytest.mark.parametrize(("answer", "part"), [({"y": np.full((2, 3), 1.0001)}, ""), *WRONG])
def test_an_export_must_answer_as_the_network(answer: dict[str, np.ndarray], part: str) -> None:
    verdict = parity_gate(answer, {"y": np.ones((2, 3))}, 2)
    assert (verdict.gate, verdict.passed) == ("parity", not part)
    assert part in verdict.reason


@pytest.mark.parametrize(
    ("answer", "error_rate", "part"),
    [({"y": np.ones((2, 3))}, 0.0, "40 requests, each answered"), *((answer, 0.5, part) for answer, part in WRONG)],
)
def test_live_answers_must_be_the_file_s(answer: dict[str, np.ndarray], error_rate: float, part: str) -> None:
    right = {"y": np.ones((2, 3))}
    verdict = smoke_gate([lambda: right, lambda: answer], right)
    assert (verdict.gate, verdict.passed) == ("smoke_test", error_rate == 0)
    assert (verdict.numbers["requests"], verdict.numbers["error_rate"]) == (40, error_rate)
    assert part in verdict.reason


def test_a_live_endpoint_must_answer_every_time() -> None:
    count = 0

    def ask() -> dict[str, np.ndarray]:
        nonlocal count
        count += 1
        if count == 7:
            raise ServiceUnavailableError("nobody there")
        return {"y": np.ones(1)}

    verdict = smoke_gate([ask], {"y": np.ones(1)})
    assert not verdict.passed
    assert verdict.numbers["error_rate"] == 1 / 20
    assert verdict.reason == "1 of 20 requests failed; first: nobody there"


def test_verdicts_come_back_from_tags() -> None:
    verdicts = [Verdict("latency", True, "fast", {"latency_ms": 1.5}), Verdict("metric", False, "worse " * 5000)]
    tags = {"other": "tag"} | {name: text for each in verdicts for name, text in verdict_tags(each).items()}
    assert all(len(text) <= 5000 for text in tags.values())
    first, second = read_verdicts(tags)
    assert first == verdicts[0]
    assert (second.gate, second.passed) == ("metric", False)
    assert verdicts[1].reason.startswith(second.reason)
    assert failed([first, second]) == [second]
