"""The checks must see what goes wrong: hundreds of corruptions of our own manifests, each of one field."""

import copy
from collections import Counter

import pytest
from rich.console import Console
from rich.table import Table

from tests.manifests.checker import faults_of_change
from tests.manifests.mutations import KINDS, mutations
from tests.manifests.worlds import world

OF_EACH_KIND = 40
SEED = 20_261_121
FLOOR = 0.95


@pytest.mark.usefixtures("crds")
def test_the_checks_catch_corrupted_manifests(capsys: pytest.CaptureFixture[str]) -> None:
    made, caught, missed = Counter(), Counter(), []
    for name in ("gpu", "cpu"):
        resources = world(name)
        for mutation in mutations(resources, OF_EACH_KIND, SEED):
            made[mutation.kind] += 1
            others = [item for item in resources if item is not mutation.original]
            if any(True for _ in faults_of_change(mutation.changed, others)):
                caught[mutation.kind] += 1
            else:
                missed.append(str(mutation))
    table = Table("corruption", "made", "caught", "share", title="Corruptions of one field")
    for kind in KINDS:
        table.add_row(kind, str(made[kind]), str(caught[kind]), f"{caught[kind] / made[kind]:.1%}")
    share = caught.total() / made.total()
    table.add_row("all", str(made.total()), str(caught.total()), f"{share:.1%}")
    with capsys.disabled():
        Console(width=100).print("", table)
    assert made.total() >= 200
    assert all(made[kind] >= OF_EACH_KIND for kind in KINDS)
    assert share >= FLOOR, missed


@pytest.mark.usefixtures("crds")
def test_objects_as_they_are_have_no_fault() -> None:
    """Else every corruption would count as caught."""
    resources = world("gpu")
    for resource in resources:
        others = [item for item in resources if item is not resource]
        assert list(faults_of_change(copy.deepcopy(resource), others)) == []
