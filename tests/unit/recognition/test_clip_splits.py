import numpy as np
import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from pathcast.core.errors import InvalidInputError
from pathcast.recognition.clip_sources import background, one_source
from pathcast.recognition.clip_splits import PARTS, SplitRule, split
from tests.support.clips import moving_square


def test_cuts_of_one_recording_are_found() -> None:
    one, other = moving_square(1, moves=True, frames=14), moving_square(2, moves=True, frames=14)
    backgrounds = np.stack([background(clip) for clip in (one[:7], other[:7], one[7:], other[7:])])
    assert one_source(backgrounds) == [0, 1, 0, 1]


def test_a_chain_of_alike_backgrounds_is_one_source() -> None:
    angles = np.deg2rad([0, 40, 20, 180])
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    assert one_source(circle, 0.9) == [0, 0, 0, 3]


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 15)), min_size=40, max_size=80), st.integers(0, 4))
def test_no_group_is_parted(clips: list[tuple[str, int]], fold: int) -> None:
    labels, groups = [label for label, _ in clips], [str(group) for _, group in clips]
    try:
        parts = split(labels, groups, SplitRule(fold=fold))
    except InvalidInputError:
        reject()
    assert set(parts) <= set(PARTS)
    homes: dict[str, set[str]] = {}
    for group, part in zip(groups, parts, strict=True):
        homes.setdefault(group, set()).add(part)
    assert all(len(where) == 1 for where in homes.values())


def test_every_clip_is_held_out_once() -> None:
    labels, groups = ["a", "b"] * 30, [str(index // 2) for index in range(60)]
    held = [split(labels, groups, SplitRule(fold=fold)) for fold in range(5)]
    assert (np.sum([np.array(parts) == "test" for parts in held], axis=0) == 1).all()


def test_named_groups_and_given_parts_are_held_out() -> None:
    labels, groups = ["a", "b"] * 9, [f"actor{index // 2}" for index in range(18)]
    parts = split(labels, groups, SplitRule(held_out=("actor3",)))
    assert [index for index, part in enumerate(parts) if part == "test"] == [6, 7]
    given_parts = ["test" if index > 13 else "train" for index in range(18)]
    assert [part == "test" for part in split(labels, groups, SplitRule(), given_parts)] == [
        part == "test" for part in given_parts
    ]


@pytest.mark.parametrize(
    ("labels", "groups", "rule", "said"),
    [
        (["a", "b"] * 2, ["1", "1", "2", "2"], SplitRule(), "expected 5 groups of clips and as many .*, got 2 and 2"),
        (["a", "b"] * 8, list(map(str, range(16))), SplitRule(folds=2), "expected 7 groups .*, got 8 and 4"),
        (["a"] * 20 + ["b"] * 2, [*map(str, range(20)), "x", "x"], SplitRule(held_out=("x",)), "class b: no clip"),
        (["a", "b"] * 9, list(map(str, range(18))), SplitRule(held_out=("nobody",)), "nobody: no such group"),
    ],
)
def test_a_split_that_cannot_be_is_refused(labels: list[str], groups: list[str], rule: SplitRule, said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        split(labels, groups, rule)
