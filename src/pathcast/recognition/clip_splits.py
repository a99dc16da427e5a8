"""Which clips to learn from, to choose by and to judge by: groups are never parted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from pathcast.core.errors import InvalidInputError

PARTS = ("train", "val", "test")


@dataclass(frozen=True, slots=True)
class SplitRule:
    """`folds` folds, of which number `fold` (from 0) is held out; or the groups named in `held_out` are.

    Both leave `val` (a share of the other clips) to choose by. `seed` deals groups to folds.
    """

    folds: int = 5
    fold: int = 0
    held_out: tuple[str, ...] = ()
    val: float = 0.15
    seed: int = 1

    def __post_init__(self) -> None:
        if self.folds < 2 or not 0 <= self.fold < self.folds or not 0 < self.val <= 0.5:
            raise InvalidInputError(
                f"split: expected folds of 2 or more, a fold below that and val in (0, 0.5], got {self}"
            )


def split(
    labels: Sequence[str], groups: Sequence[str], rule: SplitRule, given: Sequence[str | None] | None = None
) -> list[str]:
    """The part of each clip, one of PARTS; `given` are those that the data set says itself ("train", "test").

    Raises InvalidInputError where a held-out group does not exist, there are too few groups, or a class has no clip
    to learn from.
    """
    test = _held_out(labels, groups, rule, given)
    rest = np.flatnonzero(~test)
    val = _fold(labels, groups, rest, max(round(1 / rule.val), 2), 0, rule.seed)
    parts = ["test" if held else "train" for held in test]
    for index in val:
        parts[index] = "val"
    _require_classes(labels, parts)
    return parts


def _held_out(
    labels: Sequence[str], groups: Sequence[str], rule: SplitRule, given: Sequence[str | None] | None
) -> np.ndarray:
    if given is not None and any(given):
        return np.array([part == "test" for part in given])
    if rule.held_out:
        unknown = sorted(set(rule.held_out) - set(groups))
        if unknown:
            some = ", ".join(sorted(set(groups))[:8])
            raise InvalidInputError(f"held_out {', '.join(unknown)}: no such group of clips; there are {some}, …")
        return np.isin(np.array(groups), rule.held_out)
    test = np.zeros(len(labels), np.bool_)
    test[_fold(labels, groups, np.arange(len(labels)), rule.folds, rule.fold, rule.seed)] = True
    return test


def _fold(
    labels: Sequence[str], groups: Sequence[str], among: np.ndarray, folds: int, fold: int, seed: int
) -> np.ndarray:
    """The clips of one of `folds` folds of those `among`, all classes in like shares as far as the groups allow."""
    own_groups = np.array(groups)[among]
    largest = max(Counter(labels[index] for index in among).values(), default=0)
    if min(len(set(own_groups)), largest) < folds:
        raise InvalidInputError(
            f"split: expected {folds} groups of clips and as many clips of a class or more, "
            f"got {len(set(own_groups))} and {largest}",
            hint="a group is what was cut from one recording; ask for less folds, or add clips",
        )
    dealt = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    parts = list(dealt.split(np.zeros(len(among)), np.array(labels)[among], own_groups))
    return np.asarray(among[parts[fold][1]])


def _require_classes(labels: Sequence[str], parts: Sequence[str]) -> None:
    trained = {label for label, part in zip(labels, parts, strict=True) if part == "train"}
    unseen = sorted(set(labels) - trained)
    if unseen:
        raise InvalidInputError(
            f"split: class {', '.join(unseen)}: no clip to learn from, so it could never be recognised",
            hint="all of its clips belong to one group, or the lists leave it out",
        )


def counts(labels: Sequence[str], parts: Sequence[str]) -> Mapping[str, Mapping[str, int]]:
    """Clips of each class in each part."""
    return {
        part: {
            label: sum(1 for one, of in zip(labels, parts, strict=True) if (one, of) == (label, part))
            for label in sorted(set(labels))
        }
        for part in PARTS
    }
