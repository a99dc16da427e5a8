"""Regions of POSIX shared memory that a process on the same host reads, with no leftovers after a kill.

Each region is a file in /dev/shm that its owner keeps locked. The kernel drops the lock when the owner dies,
however it dies, so any later process can tell a dead owner's region from a living one's, across containers and
reused process ids, and delete it.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import secrets
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pathcast.core.errors import PathcastError

SHARED_MEMORY_DIR = Path("/dev/shm")  # noqa: S108
NAME_PREFIX = "pathcast-client-"
ALIGNMENT = 64
"""Arrays start at multiples of this many bytes."""


def aligned(byte_size: int) -> int:
    """The bytes that `byte_size` takes when the next array follows it."""
    return -(-byte_size // ALIGNMENT) * ALIGNMENT


class SharedRegion:
    """A named region of `byte_size` bytes that this process owns until `close`.

    `name` is unique on the host; a reader opens it as the POSIX shared memory object `key`.
    """

    def __init__(self, byte_size: int, directory: Path = SHARED_MEMORY_DIR) -> None:
        self.byte_size = byte_size
        self._path, self._file = _create_locked(directory)
        try:
            os.posix_fallocate(self._file, 0, byte_size)
            self._map = mmap.mmap(self._file, byte_size)
        except OSError as error:
            self._path.unlink(missing_ok=True)
            os.close(self._file)
            raise PathcastError(
                f"could not reserve {byte_size:,} bytes of shared memory in {directory}: {error.strerror}",
                hint="give the container a larger /dev/shm, or use the client with shared_memory=False",
            ) from error

    @property
    def name(self) -> str:
        return self._path.name

    @property
    def key(self) -> str:
        return f"/{self._path.name}"

    def write(self, array: NDArray[np.generic], offset: int) -> None:
        """Copy `array` to `offset` in C order."""
        view: NDArray[np.generic] = np.ndarray(array.shape, array.dtype, buffer=self._map, offset=offset)
        view[...] = array

    def close(self) -> None:
        """Delete the region; a reader that has it mapped keeps its mapping. Closing twice is allowed."""
        if self._map.closed:
            return
        self._path.unlink(missing_ok=True)
        self._map.close()
        os.close(self._file)


def is_abandoned(name: str, directory: Path = SHARED_MEMORY_DIR) -> bool:
    """Whether the region's owner is gone, or the region itself."""
    try:
        file = os.open(directory / name, os.O_RDWR)
    except FileNotFoundError:
        return True
    except PermissionError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(file)
    return True


def remove_abandoned_regions(directory: Path = SHARED_MEMORY_DIR) -> list[str]:
    """Delete the regions whose owners are gone; their names."""
    return list(_remove_abandoned(directory))


def _remove_abandoned(directory: Path) -> Iterator[str]:
    for path in directory.glob(f"{NAME_PREFIX}*"):
        if is_abandoned(path.name, directory):
            with suppress(FileNotFoundError, PermissionError):
                path.unlink()
                yield path.name


def _create_locked(directory: Path) -> tuple[Path, int]:
    while True:
        path = directory / f"{NAME_PREFIX}{os.getpid()}-{secrets.token_hex(6)}"
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        # Between the two calls another process could take the file for abandoned and delete it.
        with suppress(BlockingIOError, FileNotFoundError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.stat(path).st_ino == os.fstat(file).st_ino:
                return path, file
        os.close(file)
