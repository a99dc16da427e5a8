from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.gtsrb import HEADER, as_archive, write_gtsrb

from pathcast.core.errors import InvalidInputError
from pathcast.recognition.gtsrb import read_gtsrb
from tests.support.pictures import VAST_PNG

TABLE = "GTSRB/Final_Training/Images/00001/GT-00001.csv"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_gtsrb(tmp_path / "set")


def test_an_archive_a_folder_around_it_and_an_unpacked_set_are_the_same(folder: Path, tmp_path: Path) -> None:
    around = tmp_path / "around"
    around.mkdir()
    archive = as_archive(folder, around / "gtsrb.tar.gz")
    unpacked, packed, found = (read_gtsrb(source) for source in (folder, archive, around))
    # A folder's files are named from the folder that was given.
    assert [(row.label, row.track, row.path) for row in packed.training] == [
        (row.label, row.track, row.path) for row in unpacked.training
    ]
    assert (len(unpacked.training), len(unpacked.test)) == (27, 6)
    assert {row.track for row in unpacked.training if row.label == 14} == {f"00014/0000{n}" for n in range(3)}
    for one, two, three in zip(unpacked.training, packed.training, found.training, strict=True):
        assert np.array_equal(unpacked.crop(one, 48, 6), packed.crop(two, 48, 6))
        assert np.array_equal(unpacked.crop(one, 48, 6), found.crop(three, 48, 6))


def test_the_box_is_measured_in_the_pixels_of_the_table(folder: Path) -> None:
    # The sample's pictures are stored at 32 x 32, whatever their table says.
    path = folder / TABLE
    whole = read_gtsrb(folder)
    row = next(row for row in whole.training if row.label == 1)
    path.write_text(path.read_text().replace(";40;40;4;4;35;35;", ";80;80;8;8;71;71;"))
    scaled = read_gtsrb(folder)
    assert np.array_equal(
        whole.crop(row, 48, 6), scaled.crop(next(r for r in scaled.training if r.path == row.path), 48, 6)
    )


def _without_test(folder: Path) -> None:
    (folder / "GTSRB/Final_Test/GT-final_test.csv").unlink()


def test_a_set_without_its_test_part_is_read(folder: Path) -> None:
    _without_test(folder)
    assert read_gtsrb(folder).test == ()


def _replace(old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / TABLE
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new, 1))

    return change


@pytest.mark.parametrize(
    ("change", "expectation"),
    [
        (_replace(";1\n", ";43\n"), r"GT-00001.csv row 2: expected a ClassId of 0 to 42, got 43"),
        (_replace(";1\n", ";2\n"), r"row 2: expected ClassId 1, as the folder is named, got 2"),
        (_replace(";1\n", ";\n"), r"row 2: expected whole numbers for Width, .*ClassId"),
        (_replace(";4;4;35;35;", ";4;4;35;44;"), r"row 2: expected a box inside 40x40, got 4,4 to 35,44"),
        (_replace(";4;4;35;35;", ";4;4;4;35;"), r"row 2: expected a box inside"),
        (_replace("00001_00000.ppm", "00001_00099.ppm"), r"row 5: there is no picture .*00001_00099.ppm"),
        (_replace("00000_00000.ppm", "../00000/00000_00000.ppm"), r"row 2: there is no picture"),
        (_replace(HEADER, HEADER.replace(";", ",")), r"GT-00001.csv: expected columns Filename;Width"),
        (lambda folder: (folder / TABLE).unlink(), None),
        (lambda folder: (folder / TABLE).write_bytes(b"\xff\xfe\x00"), r"GT-00001.csv: expected UTF-8"),
    ],
)
def test_errors_name_file_and_row(folder: Path, change: Callable[[Path], None], expectation: str | None) -> None:
    change(folder)
    if expectation is None:
        assert {row.label for row in read_gtsrb(folder).training} == {0, 14}
        return
    with pytest.raises(InvalidInputError, match=expectation):
        read_gtsrb(folder)


@pytest.mark.parametrize("content", [b"", b"not an image", b"P6\n40 40\n255\nshort", VAST_PNG])
def test_an_unreadable_picture_is_named_with_its_row(folder: Path, content: bytes) -> None:
    found = read_gtsrb(folder)
    row = found.training[4]
    (folder / row.path).write_bytes(content)
    with pytest.raises(InvalidInputError, match=rf"row 6: .*{row.path}: not an image"):
        found.crop(row, 48, 6)


def test_an_empty_folder_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="found 0 archives"):
        read_gtsrb(tmp_path)


def test_a_torn_archive_is_named(folder: Path, tmp_path: Path) -> None:
    archive = as_archive(folder, tmp_path / "gtsrb.tar.gz")
    archive.write_bytes(archive.read_bytes()[:-2000])
    with pytest.raises(InvalidInputError, match="gtsrb.tar.gz: not a whole tar archive"):
        read_gtsrb(archive)


def test_an_archive_of_something_else_is_told(tmp_path: Path) -> None:
    archive = tmp_path / "other.tar.gz"
    (tmp_path / "GTSRB").mkdir()
    (tmp_path / "GTSRB" / "notes.txt").write_text("nothing here")
    as_archive(tmp_path, archive)
    with pytest.raises(InvalidInputError, match="found none in 1 files"):
        read_gtsrb(archive)
