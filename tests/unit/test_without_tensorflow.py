from __future__ import annotations

import sys
from importlib.machinery import PathFinder

import pytest

from tests.unit.conftest import PROJECT, NoTensorFlow, is_refused


@pytest.mark.parametrize(
    ("asked", "refused"),
    [
        (["tests/unit", "tests/manifests", "src/pathcast/core"], True),
        (["tests/unit/core/test_types.py::test_a"], True),
        (["tests/unit", "tests/networks/detection"], False),
        (["tests/unit", "tests/quality"], False),
        (["tests"], False),
    ],
)
def test_unit_tests_alone_are_refused_tensorflow(
    asked: list[str], refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(PROJECT)
    assert is_refused(asked) is refused


def test_the_refusal_says_where_such_tests_belong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.meta_path", [NoTensorFlow(), PathFinder])
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    with pytest.raises(ImportError, match="tests/networks"):
        import tensorflow  # noqa: F401
