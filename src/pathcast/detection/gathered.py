"""Labelled sets brought together below one folder, so that every image keeps its own pixels."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path

from pathcast.detection.labelled import LabelledImages

_IMAGE_FOLDERS = ("images", "JPEGImages", "img1")


class Names:
    """Gives out names that a folder can have, each once."""

    def __init__(self, taken: Collection[str] = ()) -> None:
        self._taken = set(taken)

    def own(self, wanted: str) -> str:
        """`wanted`, without what no folder's name has, and with the first free number behind it where it is taken.

        >>> names = Names(["gate"])
        >>> [names.own("gate"), names.own("gate"), names.own("yard"), names.own("../../etc"), names.own("")]
        ['gate-2', 'gate-3', 'yard', '_.._etc', 'unnamed']
        """
        clean = re.sub(r"[^\w.-]", "_", wanted).lstrip(".") or "unnamed"
        name, number = clean, 1
        while name in self._taken:
            number += 1
            name = f"{clean}-{number}"
        self._taken.add(name)
        return name


def gathered(
    sets: Sequence[LabelledImages], folder: Path, place: str = "images", *, own_folders: bool = True
) -> list[LabelledImages]:
    """The sets below `folder`, their images copied below `folder`/`place` unless they lie there already.

    With `own_folders` each set has one, called as the folder that it comes from, with a number where that is taken.
    Sets out of one folder share it, for they name the same files. No two files become one, whatever they are called.
    """
    top, home = Path(os.path.abspath(folder)), Path(os.path.abspath(folder / place))
    sources = [[Path(os.path.abspath(labelled.root / image.name)) for image in labelled] for labelled in sets]
    owners = {source: source for paths in sources for source in paths if source.is_relative_to(home)}
    names = Names({source.relative_to(home).parts[0] for source in owners})
    folders: dict[Path, Path] = {}
    found = []
    for labelled, paths in zip(sets, sources, strict=True):
        root = Path(os.path.abspath(labelled.root))
        if root not in folders:
            folders[root] = home / names.own(root.name) if own_folders else home
        images = []
        for image, source in zip(labelled, paths, strict=True):
            target = source
            if source not in owners:
                target = _free(folders[root] / _inner(image.name), source, owners)
                if target not in owners:
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(source, target)
                    owners[target] = source
            images.append(image.changed(name=target.relative_to(top).as_posix()))
        found.append(LabelledImages(folder, tuple(images), about=labelled.about))
    return found


def _free(wanted: Path, source: Path, owners: dict[Path, Path]) -> Path:
    """`wanted`, or a numbered one where that is another file's."""
    target, number = wanted, 1
    while owners.get(target, source) != source:
        number += 1
        target = wanted.with_stem(f"{wanted.stem}-{number}")
    return target


def _inner(name: str) -> Path:
    """The name without what leads out of the set, and without the folder that its format has all images in."""
    parts = [part for part in Path(name).parts if part not in ("..", os.sep)]
    return Path(*(parts[1:] if parts[0] in _IMAGE_FOLDERS and len(parts) > 1 else parts))
