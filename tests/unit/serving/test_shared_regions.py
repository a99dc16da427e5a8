"""Shared regions hold what was written, and none outlives its owner for long."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from pathcast.core.errors import PathcastError
from pathcast.serving.shared_regions import ALIGNMENT, SharedRegion, aligned, is_abandoned, remove_abandoned_regions

HOLD = """
import sys
from pathlib import Path
from pathcast.serving.shared_regions import SharedRegion
region = SharedRegion(1000, Path(sys.argv[1]))
print(region.name, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize(("byte_size", "taken"), [(0, 0), (1, ALIGNMENT), (ALIGNMENT, ALIGNMENT), (65, 128)])
def test_arrays_are_laid_out_at_aligned_offsets(byte_size, taken):
    assert aligned(byte_size) == taken


def test_a_reader_sees_what_was_written(tmp_path):
    region = SharedRegion(256, tmp_path)
    first = np.arange(12, dtype=np.uint8).reshape(3, 4).T  # not contiguous: written in C order all the same
    second = np.array([1.5, -2.5], dtype=np.float64)
    region.write(first, 0)
    region.write(second, 64)
    stored = (tmp_path / region.name).read_bytes()
    assert len(stored) == 256
    assert stored[:12] == first.tobytes(order="C")
    assert stored[64:80] == second.tobytes()
    assert stored[80:] == bytes(176)
    region.close()


def test_closing_deletes_the_region_and_may_be_repeated(tmp_path):
    region = SharedRegion(10, tmp_path)
    assert not is_abandoned(region.name, tmp_path)
    region.close()
    region.close()
    assert list(tmp_path.iterdir()) == []
    assert is_abandoned(region.name, tmp_path)


def test_only_regions_of_dead_owners_are_removed(tmp_path):
    own = SharedRegion(10, tmp_path)
    (tmp_path / "somebody-elses").touch()
    owners = [
        subprocess.Popen(
            [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    try:
        dead, living = (owner.stdout.readline().strip() for owner in owners)
        owners[0].send_signal(signal.SIGKILL)
        owners[0].wait(10)
        assert (tmp_path / dead).exists()
        assert remove_abandoned_regions(tmp_path) == [dead]
        assert {path.name for path in tmp_path.iterdir()} == {own.name, living, "somebody-elses"}
        assert remove_abandoned_regions(tmp_path) == []
    finally:
        for owner in owners:
            owner.kill()
            owner.communicate()
    own.close()


def test_regions_are_private_to_the_user(tmp_path):
    region = SharedRegion(10, tmp_path)
    assert os.stat(tmp_path / region.name).st_mode & 0o777 == 0o600
    region.close()


def test_a_region_that_does_not_fit_leaves_nothing(tmp_path):
    with pytest.raises(PathcastError, match=r"could not reserve 4,611,686,018,427,387,904 bytes"):
        SharedRegion(2**62, tmp_path)
    assert list(tmp_path.iterdir()) == []
