"""The commands that the pages give people to type: read out of the page, and typed into a shell of stand-ins.

The stand-ins do nothing and note how they were called; variables, functions, loops and pipes are the shell's own work.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

STAND_INS = ("docker", "helm", "kubectl", "make", "mc", "pathcast", "skopeo", "ssh-keygen")
_FENCED = re.compile(r"(?ms)^( *)```bash\n(.*?)^ *```")
_IN_PROSE = re.compile(r"(?s)(?<!`)`((?:\$admin|docker compose|helm|kubectl|pathcast) [^`]+)`(?!`)")
_LEAST_WORDS = {"helm": 4, "kubectl": 4}
"""With fewer, a command is named and not to be typed."""
# It prints a word in base 64, for those that decode what they are given; what needs no server, kubectl does itself.
_STAND_IN = r"""#!/bin/bash
note="$NOTES/$(date +%s%N)-$$"
[ "${0##*/}" = ssh-keygen ] && touch "${@: -1}" "${@: -1}.pub"
if [ -p /dev/stdin ] || [ -f /dev/stdin ]; then cat; fi > "$note.in"
printf '%s\0' "${0##*/}" "$PWD" "$@" > "$note.call"
case " $* " in
*" --dry-run=client "* | *" --local "*) exec "$KUBECTL" "$@" < "$note.in" ;;
esac
echo eA==
"""


@dataclass(frozen=True)
class Call:
    """A program as the shell called it."""

    program: str
    folder: Path
    arguments: tuple[str, ...]
    given: str

    @property
    def inner(self) -> tuple[str, ...]:
        """What `kubectl exec` runs in the pod."""
        if self.program != "kubectl" or "exec" not in self.arguments or "--" not in self.arguments:
            return ()
        return self.arguments[self.arguments.index("--") + 1 :]


def blocks(page: str) -> list[str]:
    """The page's blocks of shell."""
    return [dedent(text) for _, text in _FENCED.findall(page)]


def section(page: str, heading: str) -> str:
    """The text below a heading of the second level."""
    return page.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def in_prose(page: str) -> list[str]:
    """Commands within sentences, in one line each; one with three dots for a word is named only."""
    found = [command.split() for command in _IN_PROSE.findall(_FENCED.sub("", page))]
    return [" ".join(words) for words in found if "…" not in words and len(words) >= _LEAST_WORDS.get(words[0], 0)]


def typed(script: str, folder: Path, kubectl: Path) -> list[Call]:
    """What a shell calls, in order; raises where it stops at an error or a variable that nobody has set."""
    notes, programs = folder / "notes", folder / "programs"
    for made in (notes, programs):
        made.mkdir(exist_ok=True)
    for name in STAND_INS:
        (programs / name).write_text(_STAND_IN)
        (programs / name).chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{programs}:{os.environ['PATH']}",
        "NOTES": str(notes),
        "KUBECTL": str(kubectl),
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], cwd=folder, env=environment, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = []
    for note in sorted(notes.glob("*.call")):
        program, where, *arguments = note.read_text().split("\0")[:-1]
        given = note.with_suffix(".in").read_text(errors="replace")
        found.append(Call(program, Path(where), tuple(arguments), given))
        note.unlink()
    return found
