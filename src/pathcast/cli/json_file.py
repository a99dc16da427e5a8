"""The option `--json FILE`, with which a command also writes its figures for programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import typer


def json_option(text: str) -> Any:
    """The option, with `text` as its help; where the file cannot be written the command ends before its work begins."""
    return typer.Option(None, dir_okay=False, writable=True, callback=_with_folder, help=text)


def write_json(path: Path | None, content: Any) -> None:
    """Write `content` where a file was named."""
    if path is not None:
        path.write_bytes(msgspec.json.format(msgspec.json.encode(content)) + b"\n")


def _with_folder(path: Path | None) -> Path | None:
    if path is not None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise typer.BadParameter(f"{path.parent}: {error.strerror}") from error
    return path
