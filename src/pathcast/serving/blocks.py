"""Rows of a request in whole blocks, so that an answer does not depend on what else is in the batch."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

BLOCK = 8
"""A camera's rows fill whole blocks of this many."""

_Rows = TypeVar("_Rows", bound=npt.NDArray[np.generic])


def whole_blocks(rows: _Rows) -> _Rows:
    """`rows` (n, …), n ≥ 1, with the last one repeated up to a multiple of BLOCK rows.

    The last rows of a batch go through other vector instructions than the rest, which differ in the last bit; in
    whole blocks a camera's answers are the same, to the bit, whoever else is in the batch.
    """
    return np.concatenate([rows, np.repeat(rows[-1:], -len(rows) % BLOCK, axis=0)])  # type: ignore[return-value]
