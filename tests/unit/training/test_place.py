from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from pathcast.core import InvalidInputError
from pathcast.training.place import read_place
from pathcast.training.share import Share


def tf_config(cluster: dict[str, list[str]], job: str, index: int) -> str:
    return json.dumps({"cluster": cluster, "task": {"type": job, "index": index}})


WORKERS = {"worker": ["a:1", "b:1"]}
WITH_CHIEF = {"chief": ["c:1"], "worker": ["a:1", "b:1"]}


@pytest.mark.parametrize(
    ("cluster", "job", "index", "share"),
    [
        (WORKERS, "worker", 0, Share(0, 2)),
        (WORKERS, "worker", 1, Share(1, 2)),
        (WITH_CHIEF, "chief", 0, Share(0, 3)),
        (WITH_CHIEF, "worker", 1, Share(2, 3)),
        ({**WORKERS, "ps": [], "evaluator": ["e:1"]}, "worker", 1, Share(1, 2)),
    ],
)
def test_the_chief_comes_first(cluster: dict[str, list[str]], job: str, index: int, share: Share) -> None:
    place = read_place(tf_config(cluster, job, index))
    assert place is not None
    assert place.share == share


@pytest.mark.parametrize("text", [None, "", "  ", tf_config({"worker": ["a:1"]}, "worker", 0)])
def test_without_others_there_is_no_place(text: str | None) -> None:
    assert read_place(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "{}",
        '{"cluster": {"worker": ["a:1"]}}',
        tf_config(WORKERS, "worker", 2),
        tf_config(WORKERS, "worker", -1),
        tf_config(WORKERS, "chief", 0),
        tf_config(WORKERS, "evaluator", 0),
    ],
)
def test_a_place_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="TF_CONFIG: expected"):
        read_place(text)


@pytest.mark.parametrize("count", [1, 2, 3, 6])
def test_shares_make_up_the_batch(count: int) -> None:
    rows = np.arange(12)[::-1]
    parts: list[Any] = [Share(index, count).of(rows) for index in range(count)]
    assert {len(part) for part in parts} == {12 // count}
    assert np.concatenate(parts).tolist() == rows.tolist()


def test_a_batch_that_cannot_be_shared_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="a multiple of 2 samples.*got 3"):
        Share(0, 2).of(np.arange(3))
