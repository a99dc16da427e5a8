"""Which code made something."""

from __future__ import annotations

import subprocess
from pathlib import Path


def git_commit() -> str | None:
    """The commit that the package's source is at, with "+" where files differ from it; None outside a repository."""
    folder = Path(__file__).parent

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ("git", "-C", str(folder), *arguments), capture_output=True, text=True, timeout=10, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    # An installed package may lie inside somebody else's repository.
    if commit is None or git("ls-files", "--error-unmatch", str(Path(__file__))) is None:
        return None
    return commit + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
