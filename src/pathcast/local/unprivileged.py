"""Running a program that refuses to run as root."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from pathcast.core.errors import PathcastError

USER = "nobody"
_CAPABILITIES = (None, "dac_read_search", "dac_override")
"""Tried in this order, the least power first. The capabilities let the user pass folders that only root can enter."""


def unprivileged_prefix(executable: Path, folder: Path) -> tuple[str, ...]:
    """What to put before a command so that it runs as an ordinary user; nothing if this process is one.

    As root, gives `folder` to the user `nobody` and finds, by trying, a call of `setpriv` with which
    `executable` can be run in `folder`, also if both lie below folders that only root can enter.

    Raises `PathcastError` if this machine offers no way.
    """
    if os.geteuid() != 0:
        return ()
    program = shutil.which("setpriv")
    if program is None:
        raise PathcastError(
            f"{executable.name} does not run as root, and `setpriv`, which starts it as `{USER}`, was not found",
            hint="install util-linux, or run as an ordinary user",
        )
    user = pwd.getpwnam(USER)
    os.chown(folder, user.pw_uid, user.pw_gid)
    refusal = ""
    for capability in _CAPABILITIES:
        prefix = _prefix(program, user, capability)
        refusal = _try(prefix, executable, folder)
        if not refusal:
            return prefix
    raise PathcastError(
        f"{executable} can't be run as `{USER}` in {folder}: {refusal}",
        hint="run as an ordinary user, or keep the checkout and its state in folders that others may enter",
    )


def give_to_user(path: Path) -> None:
    """As root, make `path` the property of the user that programs run as; else nothing."""
    if os.geteuid() == 0:
        user = pwd.getpwnam(USER)
        os.chown(path, user.pw_uid, user.pw_gid)


def _prefix(program: str, user: pwd.struct_passwd, capability: str | None) -> tuple[str, ...]:
    identity = (program, f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "--no-new-privs")
    if capability is None:
        return identity
    only = f"-all,+{capability}"
    # Without the security bit, access(2), by which PostgreSQL looks for its programs, leaves the capability aside.
    bit = "--securebits=+no_setuid_fixup"
    return (*identity, f"--inh-caps={only}", f"--ambient-caps={only}", f"--bounding-set={only}", bit)


def _try(prefix: Sequence[str], executable: Path, folder: Path) -> str:
    """Empty if the program runs and can write to `folder` by its full name; else what was said."""
    script = 'cd "$0" && test -w . && exec "$1" --version'
    argv = [*prefix, "/bin/sh", "-c", script, str(folder), str(executable)]
    result = subprocess.run(argv, capture_output=True, text=True, check=False)
    return "" if result.returncode == 0 else (result.stderr.strip() or f"exit status {result.returncode}")
