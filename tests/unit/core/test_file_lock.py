from __future__ import annotations

import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from pathcast.core.errors import PathcastError
from pathcast.core.file_lock import file_lock

BUSY = PathcastError("somebody is at work")
HOLDER = """
import sys
from pathlib import Path
from pathcast.core.errors import PathcastError
from pathcast.core.file_lock import file_lock
with file_lock(Path(sys.argv[1]), PathcastError("busy"), shared=sys.argv[2] == "shared"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize(
    ("theirs", "ours", "granted"),
    [("alone", False, False), ("alone", True, False), ("shared", False, False), ("shared", True, True)],
)
def test_a_lock_is_one_process_alone_or_shared(tmp_path: Path, theirs: str, ours: bool, granted: bool) -> None:
    path = tmp_path / "lock"
    command = [sys.executable, "-c", HOLDER, str(path), theirs]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        refused = nullcontext() if granted else pytest.raises(PathcastError, match="somebody is at work")
        with refused, file_lock(path, BUSY, shared=ours):
            assert granted
        holder.kill()
    with file_lock(path, BUSY):
        assert path.exists()
    assert not path.exists()


def test_a_lock_that_was_removed_meanwhile_is_taken_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its holder removes it between the opening and the locking here: that file's lock would be nobody else's."""
    path, opened = tmp_path / "lock", []
    real = Path.open

    def open_and_lose(self: Path, mode: str) -> object:
        file = real(self, mode)
        if not opened:
            path.unlink()
        opened.append(file)
        return file

    monkeypatch.setattr(Path, "open", open_and_lose)
    with file_lock(path, BUSY):
        assert path.exists()
        with pytest.raises(PathcastError), file_lock(path, BUSY):
            pass
    assert len(opened) == 3


def test_what_goes_wrong_inside_is_not_hidden(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), file_lock(tmp_path / "lock", BUSY):
        raise KeyboardInterrupt
    assert not (tmp_path / "lock").exists()
