"""What one image installs: the part of requirements.lock that its extras need.

The one lock has versions and hashes; which package needs which is read from the installed environment, which is
that same lock. So no second resolution can disagree with the first.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pathcast.core.errors import InvalidInputError

_ENTRY = re.compile(r"(?m)^([A-Za-z0-9._-]+)==(?:.*\\\n)*.*$")


def image_lock(project: Path, extras: Iterable[str]) -> str:
    """The entries of `project`/requirements.lock that the package with `extras` needs, hashes included.

    Raises InvalidInputError where an extra is unknown, or a needed package is not installed or not locked.
    """
    entries = locked_entries((project / "requirements.lock").read_text(encoding="utf-8"))
    table = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))
    left_out = {canonicalize_name(Requirement(line).name) for line in table["tool"]["uv"]["override-dependencies"]}
    needed = needed_packages(_declared(table["project"], extras)) - left_out
    missing = sorted(needed - entries.keys())
    if missing:
        raise InvalidInputError(
            f"requirements.lock: {', '.join(missing)} needed and not in it", hint="run `make lock`, then `make install`"
        )
    return "".join(f"{entries[name]}\n" for name in sorted(needed))


def locked_entries(lock: str) -> dict[str, str]:
    """Entries of a lock, each with its hashes, by canonical name."""
    return {canonicalize_name(match[1]): match[0] for match in _ENTRY.finditer(lock)}


def needed_packages(requirements: Iterable[Requirement]) -> set[str]:
    """Canonical names of all that `requirements` need here, themselves included, by the installed metadata."""
    waiting = [(requirement, extra) for requirement in requirements for extra in ("", *requirement.extras)]
    seen: set[tuple[str, str]] = set()
    while waiting:
        requirement, extra = waiting.pop()
        name = canonicalize_name(requirement.name)
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        waiting += [
            (further, wanted)
            for further in _requirements_of(name)
            if further.marker is None or further.marker.evaluate({"extra": extra})
            for wanted in ("", *further.extras)
        ]
    return {name for name, _ in seen}


def _declared(project: Mapping[str, Any], extras: Iterable[str]) -> list[Requirement]:
    optional = project["optional-dependencies"]
    unknown = set(extras) - optional.keys()
    if unknown:
        raise InvalidInputError(f"extras: expected some of {', '.join(optional)}, got {', '.join(sorted(unknown))}")
    lines = [*project["dependencies"], *(line for extra in extras for line in optional[extra])]
    return [Requirement(line) for line in lines]


def _requirements_of(name: str) -> list[Requirement]:
    try:
        return [Requirement(line) for line in metadata.requires(name) or ()]
    except metadata.PackageNotFoundError:
        # Left out on purpose, or not installed: the caller compares with the lock.
        return []
