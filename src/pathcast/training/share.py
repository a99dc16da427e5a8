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

    def span(self, count: int) -> slice:
        """The worker's part of `count` rows that need not be dealt out evenly, of a validation set say.

        The parts are as alike as can be, follow on one another in the workers' order and hold every row once.

        >>> [Share(index, 3).span(8) for index in range(3)]
        [slice(0, 2, None), slice(2, 5, None), slice(5, 8, None)]
        """
        return slice(count * self.index // self.count, count * (self.index + 1) // self.count)
