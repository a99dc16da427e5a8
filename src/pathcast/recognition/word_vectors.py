"""Word vectors of class names from a GloVe text file (Pennington et al. 2014): a word and its numbers on each line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pathcast.core.arrays import Float32Array
from pathcast.core.errors import InvalidInputError

_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")


def words(name: str) -> list[str]:
    """The words of a class name.

    >>> words("ApplyEyeMakeup"), words("noFight"), words("hand_wave 2")
    (['apply', 'eye', 'makeup'], ['no', 'fight'], ['hand', 'wave', '2'])
    """
    return [word.lower() for word in _WORD.findall(name)]


def class_vectors(path: Path, names: Sequence[str]) -> Float32Array:
    """(c, d): for each name the mean of its words' vectors, of length 1.

    Raises InvalidInputError, naming file and line, where a line is no word with its numbers, and naming the class
    where none of its words is in the file.
    """
    wanted = {word for name in names for word in words(name)}
    found: dict[str, Float32Array] = {}
    length = 0
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                word, _, rest = line.rstrip("\n").partition(" ")
                length = length or rest.count(" ") + 1
                if word in wanted:
                    found[word] = _numbers(f"{path} line {number}", rest, length)
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{path}: expected a GloVe text file: {error}") from error
    vectors = []
    for name in names:
        known = [found[word] for word in words(name) if word in found]
        if not known:
            raise InvalidInputError(f"{path}: class {name}: none of {', '.join(words(name))} is in the file")
        mean = np.mean(known, axis=0)
        vectors.append(mean / max(float(np.linalg.norm(mean)), 1e-6))
    return np.stack(vectors).astype(np.float32)


def _numbers(where: str, text: str, length: int) -> Float32Array:
    try:
        values = np.array(text.split(" "), np.float32)
    except ValueError as error:
        raise InvalidInputError(f"{where}: expected a word and {length} numbers: {error}") from error
    if len(values) != length or not np.isfinite(values).all():
        raise InvalidInputError(f"{where}: expected {length} finite numbers, got {len(values)}")
    return values
