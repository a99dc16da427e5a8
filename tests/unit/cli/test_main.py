"""How the command line ends."""

from __future__ import annotations

import errno
import os

import pytest

from pathcast.cli import main


def raising(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOSPC, errno.EFBIG])
@pytest.mark.parametrize("place", ["/there/labels.json", None])
def test_a_place_that_takes_nothing_is_told(
    number: int, place: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(main, "app", lambda: raising(OSError(number, os.strerror(number), place)))
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert said.startswith(f"error: {place or 'a file'}: {os.strerror(number)}")
    assert "check permissions and free space" in said


@pytest.mark.parametrize("error", [OSError(errno.EBADF, "Bad file descriptor"), FileNotFoundError("x"), KeyError("x")])
def test_a_fault_of_the_program_stays_one(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main, "app", lambda: raising(error))
    with pytest.raises(type(error)):
        main.main()
