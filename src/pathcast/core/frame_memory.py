"""How a process that takes in frame after frame keeps its memory."""

from __future__ import annotations

import ctypes

# Parameters of mallopt(3), from glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3

# Bytes; glibc allows no more. An RGB frame of 3840 x 2160 has 25 MB.
_LARGEST_KEPT = 32 * 2**20
_FREE_AT_THE_END = 256 * 2**20


def keep_frame_memory() -> None:
    """Let this process keep the memory of a frame for the next one.

    By default glibc gives a freed array of a frame's size back to the system, and the next frame pays for fresh pages:
    half of the time that decoding a JPEG takes. From now on arrays of up to 32 MiB are kept, so a process stays as
    large as the most frames that it ever held at once; only what is free at the end of its heap beyond 256 MiB goes
    back. With another C library nothing changes.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT)
        mallopt(_M_TRIM_THRESHOLD, _FREE_AT_THE_END)
