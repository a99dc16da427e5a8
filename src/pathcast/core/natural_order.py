"""The order in which people count files."""

from __future__ import annotations

import re
from pathlib import Path


def natural_order(path: Path) -> tuple[list[str | int], str]:
    """A sorting key of a file's name in which runs of digits count as numbers.

    >>> [path.name for path in sorted(map(Path, ("f10.png", "f2.png", "f1.png")), key=natural_order)]
    ['f1.png', 'f2.png', 'f10.png']
    """
    # Split so, text and digits take turns: a number never meets a text.
    parts = re.split(r"(\d+)", path.name)
    return [int(part) if index % 2 else part for index, part in enumerate(parts)], path.name
