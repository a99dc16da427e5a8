from __future__ import annotations

import subprocess
import sys

import pytest

_DECODING = """
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
        run = subprocess.run([sys.executable, "-c", _DECODING, *arguments], capture_output=True, text=True, check=True)
        return float(run.stdout)

    assert new_memory_for_a_frame(keep=True) < 0.1 < 1 < new_memory_for_a_frame(keep=False)
