from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.adapt import PyFormat, Transformer
from psycopg.pq import Format

from pathcast.core import InvalidInputError
from pathcast.storage.columns import Column, TimeColumn, register_columns

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _Adapted:
    """What `register_columns` needs of a connection."""

    def __init__(self) -> None:
        self.adapters = psycopg.adapt.AdaptersMap(psycopg.adapters)
        self.connection = None


def received(column: Column) -> Any:
    """What the server's side, played by psycopg's own loader, makes of the column."""
    context = _Adapted()
    register_columns(context)  # type: ignore[arg-type]
    transformer = Transformer(context)  # type: ignore[arg-type]
    dumper = transformer.get_dumper(column, PyFormat.BINARY)
    data = dumper.dump(column)
    return transformer.get_loader(dumper.oid, Format.BINARY).load(data)


@pytest.mark.parametrize("dtype", ["int16", "int32", "int64"])
@pytest.mark.parametrize("values", [[], [0], [-1, 5, -7]])
def test_integers(dtype: str, values: list[int]) -> None:
    limits = np.iinfo(dtype)
    expected = [*values, int(limits.min), int(limits.max)] if values else []
    assert received(Column(expected, dtype)) == expected


@given(st.lists(st.floats(width=32)))
def test_floats(values: list[float]) -> None:
    for dtype in (np.float32, np.float64):
        np.testing.assert_array_equal(received(Column(values, dtype)), values)


@given(st.lists(st.integers(0, 4_000_000_000_000_000), max_size=5))
def test_times(microseconds: list[int]) -> None:
    moments = [EPOCH + timedelta(microseconds=each) for each in microseconds]
    assert received(TimeColumn(moments)) == moments
    assert received(TimeColumn(moments).repeat([2] * len(moments))) == [each for each in moments for _ in range(2)]


@pytest.mark.parametrize(("value", "dtype"), [(40_000, "int16"), (2**40, "int32")])
def test_what_does_not_fit_is_refused(value: int, dtype: str) -> None:
    with pytest.raises(InvalidInputError, match=dtype):
        Column([value], dtype)
