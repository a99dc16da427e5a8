from __future__ import annotations

import os
import subprocess
import sys

import pytest

# What a machine or a caller may say about memory is left out: huge pages, and the C library's own variables.
_DECODING = """
import ctypes
import resource
import sys
import cv2
import numpy as np
from pathcast.core.frame_memory import keep_frame_memory

def new_pages(jpeg):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        image = cv2.imdecode(jpeg, cv2.IMREAD_COLOR_RGB)
        del image
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

PR_SET_THP_DISABLE = 41
ctypes.CDLL(None).prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0)
height, width, keep = map(int, sys.argv[1:])
if keep:
    keep_frame_memory()
jpeg = cv2.imencode(".jpg", np.zeros((height, width, 3), np.uint8))[1]
new_pages(jpeg)
print(new_pages(jpeg) / 10 * resource.getpagesize() / (height * width * 3))
"""


@pytest.mark.parametrize(("height", "width"), [(576, 768), (2160, 3840)])
def test_a_frame_takes_the_memory_of_the_one_before(height: int, width: int) -> None:
    def new_memory_for_a_frame(*, keep: bool) -> float:
        arguments = [str(height), str(width), str(int(keep))]
        command = [sys.executable, "-c", _DECODING, *arguments]
        own = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
        return float(subprocess.run(command, env=own, capture_output=True, text=True, check=True).stdout)

    assert new_memory_for_a_frame(keep=True) < 0.1 < 0.9 < new_memory_for_a_frame(keep=False)
