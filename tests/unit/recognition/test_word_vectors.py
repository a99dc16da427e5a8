from pathlib import Path

import numpy as np
import pytest

from pathcast.core.errors import InvalidInputError
from pathcast.recognition.word_vectors import class_vectors


def test_a_class_has_the_mean_of_its_words(tmp_path: Path) -> None:
    (tmp_path / "glove.txt").write_text("no 0 2 0\nfight 2 0 0\nthe 9 9 9\n")
    vectors = class_vectors(tmp_path / "glove.txt", ("fight", "noFight"))
    assert np.allclose(vectors, [[1, 0, 0], [np.sqrt(0.5), np.sqrt(0.5), 0]])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("the 1 2\n", "class fight: none of fight"),
        ("the 1 2\nfight 1\n", "line 2: expected 2 finite numbers, got 1"),
        ("fight one two\n", "line 1"),
        ("fight nan 1\n", "finite"),
    ],
)
def test_what_is_no_glove_file_is_named(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "glove.txt").write_text(text)
    with pytest.raises(InvalidInputError, match=said):
        class_vectors(tmp_path / "glove.txt", ("fight",))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"none\.txt"):
        class_vectors(tmp_path / "none.txt", ("fight",))
