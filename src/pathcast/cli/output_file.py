"""Options that name a file to write: most of all `--json FILE`, the figures of a command for programs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import typer


def file_option(text: str) -> Any:
    """The option, with `text` as its help; a path that cannot be written is refused before the work begins."""
    return typer.Option(None, dir_okay=False, writable=True, callback=_checked, help=text)


def write_text(path: Path, text: str) -> None:
    """Write the file, in a new folder where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def write_json(path: Path | None, content: Any) -> None:
    """Write `content` where a file was named; what is not a number becomes null."""
    if path is not None:
        write_text(path, msgspec.json.format(msgspec.json.encode(content)).decode() + "\n")


def _checked(path: Path | None) -> Path | None:
    """The path, whose folder may be made later: the nearest that is there must take it."""
    if path is not None:
        folder = next(each for each in path.absolute().parents if each.exists())
        if not folder.is_dir():
            raise typer.BadParameter(f"{folder} is a file, expected a folder")
        if not os.access(folder, os.W_OK):
            raise typer.BadParameter(f"folder {folder} cannot be written to")
    return path
