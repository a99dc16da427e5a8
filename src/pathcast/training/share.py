"""Which part of each global batch a worker works on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from pathcast.core.errors import InvalidInputError

_Array = TypeVar("_Array", bound=npt.NDArray[np.generic])


@dataclass(frozen=True, slots=True)
class Share:
    """Worker `index` of `count`. Every worker knows the same global batches; each takes its own rows of them."""

    index: int = 0
    count: int = 1

    def of(self, rows: _Array) -> _Array:
        """The worker's part of the rows (or indices of rows) of one global batch, in their order.

        Raises InvalidInputError where the rows cannot be dealt out evenly.

        >>> Share(1, 2).of(np.array([7, 5, 3, 8])).tolist()
        [3, 8]
        """
        if len(rows) % self.count:
            raise InvalidInputError(
                f"training: expected batches of a multiple of {self.count} samples, one part a worker, got {len(rows)}",
                hint="choose another batch size or number of workers",
            )
        own = len(rows) // self.count
        return rows[self.index * own : (self.index + 1) * own]  # type: ignore[return-value]
