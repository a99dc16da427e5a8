from __future__ import annotations

import pytest

from pathcast.storage.migrate import Flavour, for_flavour, migration_steps


def test_steps_are_numbered_without_gaps() -> None:
    numbers = [int(name[:4]) for name in migration_steps()]
    assert numbers == list(range(1, len(numbers) + 1))
    assert numbers


@pytest.mark.parametrize(
    ("sql", "flavour", "expected"),
    [
        ("SELECT 1", "postgresql", "SELECT 1"),
        ("a /*timescaledb: b*/ c", "timescaledb", "a b c"),
        ("a /*timescaledb: b*/ c", "postgresql", "a /*timescaledb: b*/ c"),
        ("/*postgresql:\nx;\ny;\n*/ /* kept */", "postgresql", "x;\ny; /* kept */"),
    ],
)
def test_for_flavour(sql: str, flavour: Flavour, expected: str) -> None:
    assert for_flavour(sql, flavour) == expected
