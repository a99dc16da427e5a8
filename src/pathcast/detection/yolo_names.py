"""Which class a number of YOLO text is: read from what the tools that write such sets leave beside the labels.

Ultralytics writes `data.yaml` with `names` (https://docs.ultralytics.com/datasets/detect), LabelImg and Label Studio
`classes.txt` with a name a line, darknet and CVAT the same as `obj.names`. Many sets have these under their own name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from pathcast.core.errors import InvalidInputError
from pathcast.detection.classes import CLASS_NAMES, COCO_CLASS_IDS

YAML_FILE = "data.yaml"
_FILES = (YAML_FILE, "dataset.yaml", "classes.txt", "obj.names")
_YAML, _LINES = (".yaml", ".yml"), ".names"
"""Suffixes of such files of any name."""

_HAS_NAMES = re.compile(r"^names\s*:", re.MULTILINE)

ASSUMED = f"COCO's 80, assumed, for none of {', '.join(_FILES)} and no other YAML with names is beside the labels"
_COCO = {number: f"COCO's {number}" for number in range(80)} | dict(zip(COCO_CLASS_IDS, CLASS_NAMES, strict=True))


@dataclass(frozen=True, slots=True)
class NumberedClasses:
    """The names of a set's class numbers; `source` is the file that has them, or ASSUMED."""

    names: Mapping[int, str]
    source: str


def read_class_names(directory: Path) -> NumberedClasses:
    """From such a file in the set's folder, its `labels` or the folder around; else COCO's 80 are assumed.

    In each place the first file of a usual name counts, or else the one of any name: YAML with `names`, or `*.names`;
    in the folder around it must have the set's name, or speak of it. Raises InvalidInputError where a file of a usual
    name has no names, where several of other names have, and for one that cannot be read.
    """
    own = directory.absolute()
    for place in (directory, directory / "labels", own.parent):
        found = [path for path in (place / name for name in _FILES) if path.is_file()][:1]
        found = found or _of_any_name(place, of=own.name if place == own.parent else "")
        if len(found) > 1:
            raise InvalidInputError(
                f"{place}: expected one file with class names, got {', '.join(path.name for path in found)}",
                hint=f"copy the right one to {directory / YAML_FILE}, or *.names to {directory / _FILES[-1]}",
            )
        if found:
            names = _names_in(found[0])
            return NumberedClasses({number: str(name).strip() for number, name in names.items()}, found[0].name)
    return NumberedClasses(_COCO, ASSUMED)


def write_class_names(directory: Path) -> None:
    """Write `directory`/data.yaml: the platform's classes by their own numbers, and where the images are."""
    text = yaml.safe_dump({"train": "images", "val": "images", "names": dict(enumerate(CLASS_NAMES))}, sort_keys=False)
    (directory / YAML_FILE).write_text(text, encoding="utf-8")


def _of_any_name(place: Path, of: str) -> list[Path]:
    """The files with class names, of the set `of` if one is named; other YAML lies about in many folders."""
    found = []
    for path in sorted(place.glob("*.*")):
        if path.suffix in (*_YAML, _LINES) and path.is_file():
            text = _text(path)
            if (path.suffix == _LINES or _HAS_NAMES.search(text)) and (path.stem == of or of in text):
                found.append(path)
    return [path for path in found if path.stem == of] or found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        raise InvalidInputError(f"{path}: not readable: {error.strerror}") from error


def _names_in(path: Path) -> Mapping[int, object]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix not in _YAML:
            return {number: line for number, line in enumerate(text.splitlines()) if line.strip()}
        document = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidInputError(f"{path}: not readable: {error}") from error
    names = document.get("names") if isinstance(document, dict) else None
    found = dict(enumerate(names)) if isinstance(names, list) else names
    if not isinstance(found, dict) or not all(isinstance(number, int) for number in found):
        raise InvalidInputError(
            f"{path}: names: expected a list of class names, or names by number, got {names!r}",
            hint="for example `names: [person, car]`; without such a file the numbers are taken for COCO's 80",
        )
    return found
