"""Prepared data: a family's folder of samples with its data card and a version that follows from the content."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pathcast.core.errors import InvalidInputError
from pathcast.training.family import Family

CARD_FILE = "data_card.json"
_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class PreparedData:
    """A folder that a family's task reads. `version` is the SHA-256 of its files; `card` says what they hold."""

    folder: Path
    family: str
    version: str
    options: Mapping[str, Any]
    card: Mapping[str, Any]


def prepare(family: Family, source: Path, folder: Path, options: Mapping[str, Any] | None = None) -> PreparedData:
    """Let the family read raw data into `folder`, which appears whole or not at all and replaces an older one."""
    if not source.exists():
        raise InvalidInputError(f"{source}: no such file or folder", hint="give the data of the family with --data")
    there = next(parent for parent in folder.parents if parent.exists())
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=there))
    try:
        card = dict(family.prepare(source, partial, dict(options or {})))
        description = {
            "schema": _SCHEMA,
            "family": family.name,
            "version": content_version(partial),
            "options": dict(options or {}),
            "card": card,
        }
        (partial / CARD_FILE).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
        partial.chmod(0o755)
        if folder.exists():
            open_prepared(folder, family)
            shutil.rmtree(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return open_prepared(folder, family)


def is_prepared(folder: Path) -> bool:
    """Whether the folder is one that `prepare` wrote, for whatever family."""
    return (folder / CARD_FILE).is_file()


def open_prepared(folder: Path, family: Family) -> PreparedData:
    """A folder that `prepare` wrote; InvalidInputError where it is none, or of another family."""
    path = folder / CARD_FILE
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        found = PreparedData(folder, str(raw["family"]), str(raw["version"]), dict(raw["options"]), dict(raw["card"]))
        schema = raw["schema"]
    except OSError as error:
        raise InvalidInputError(f"{path}: expected a prepared folder: {error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInputError(f"{path}: expected schema, family, version, options and card: {error!r}") from error
    if schema != _SCHEMA or found.family != family.name:
        raise InvalidInputError(
            f"{path}: expected schema {_SCHEMA} of family {family.name}, got {schema} of {found.family}"
        )
    return found


def content_version(folder: Path) -> str:
    """SHA-256 over names and contents of all files in the folder, its card apart."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != CARD_FILE:
            name = path.relative_to(folder).as_posix().encode()
            digest.update(len(name).to_bytes(8, "big") + name + path.stat().st_size.to_bytes(8, "big"))
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
    return digest.hexdigest()
