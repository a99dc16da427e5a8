"""Columns for bulk inserts: NumPy arrays as PostgreSQL's binary arrays, without a Python object a value."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from copy import copy
from datetime import datetime

import numpy as np
import numpy.typing as npt
import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import Dumper
from psycopg.pq import Format

from pathcast.core.clock import NANOSECONDS_PER_MICROSECOND, to_nanoseconds
from pathcast.core.errors import InvalidInputError

_POSTGRES_EPOCH_MICROSECONDS = 946_684_800_000_000
_TIMESTAMPTZ = 1184
# NumPy's type, its big-endian form, and the server's types for one value and for an array of them.
_TYPES = {
    "int16": (">i2", 21, 1005),
    "int32": (">i4", 23, 1007),
    "int64": (">i8", 20, 1016),
    "float32": (">f4", 700, 1021),
    "float64": (">f8", 701, 1022),
}


class Column:
    """One column of a bulk insert: `values` (n,) of int16/32/64 or float32/64.

    NaN stays NaN: where a column may be NULL, the statement says NULLIF(column, 'NaN'). Raises
    InvalidInputError for an integer that the type cannot hold.
    """

    element_oid: int
    array_oid: int

    def __init__(self, values: npt.ArrayLike, dtype: npt.DTypeLike) -> None:
        given = np.asarray(values)
        self.values = given.astype(dtype)
        if self.values.dtype.kind == "i" and (self.values != given).any():
            raise InvalidInputError(
                f"expected integers that fit {self.values.dtype}, got {given.min()} to {given.max()}"
            )
        self.wire_type, self.element_oid, self.array_oid = _TYPES[self.values.dtype.name]

    def __len__(self) -> int:
        return len(self.values)


class TimeColumn(Column):
    """Aware UTC times as timestamptz, exact to the microsecond."""

    def __init__(self, moments: Sequence[datetime]) -> None:
        microseconds = [to_nanoseconds(moment) // NANOSECONDS_PER_MICROSECOND for moment in moments]
        super().__init__(np.array(microseconds, dtype=np.int64) - _POSTGRES_EPOCH_MICROSECONDS, np.int64)
        self.element_oid, self.array_oid = _TIMESTAMPTZ, 1185

    def repeat(self, lengths: Sequence[int]) -> TimeColumn:
        """Each time as often as `lengths` says."""
        repeated = copy(self)
        repeated.values = np.repeat(self.values, lengths)
        return repeated


class _ColumnDumper(Dumper):  # type: ignore[misc]
    """The array format of the server's array_recv: a header, then a length before each value."""

    format = Format.BINARY

    def get_key(self, obj: Column, format: object) -> tuple[type, int]:
        return type(obj), obj.array_oid

    def upgrade(self, obj: Column, format: object) -> Dumper:
        dumper = _ColumnDumper(type(obj))
        dumper.oid = obj.array_oid
        return dumper

    def dump(self, obj: Column) -> Buffer | None:
        count = len(obj.values)
        if count == 0:
            return struct.pack("!iii", 0, 0, obj.element_oid)
        cells = np.empty(count, dtype=[("length", ">i4"), ("value", obj.wire_type)])
        cells["length"] = obj.values.itemsize
        cells["value"] = obj.values
        return struct.pack("!iiiii", 1, 0, obj.element_oid, count, 1) + cells.tobytes()


def register_columns(connection: psycopg.Connection) -> None:
    """Teach `connection` to send Column and TimeColumn."""
    connection.adapters.register_dumper(Column, _ColumnDumper)
    connection.adapters.register_dumper(TimeColumn, _ColumnDumper)
