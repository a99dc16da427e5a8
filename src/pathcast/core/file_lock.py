"""A lock that ends with the process that holds it, however that ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pathcast.core.errors import PathcastError


@contextmanager
def file_lock(path: Path, busy: PathcastError, *, shared: bool = False) -> Iterator[None]:
    """Hold the lock `path`, alone or with others that share it; `busy` is raised where it cannot be had at once.

    The file is made, and removed by who held it alone. Its folder must be there.
    """
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    while True:
        with path.open("a") as file:
            try:
                fcntl.flock(file, kind | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise busy from error
            if not _is_still(path, file.fileno()):
                continue
            try:
                yield
            finally:
                if not shared:
                    path.unlink(missing_ok=True)
            return


def _is_still(path: Path, descriptor: int) -> bool:
    """Whether the file that was opened is still the one of that name: who held it may have removed it meanwhile."""
    with suppress(FileNotFoundError):
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    return False
