"""The German traffic sign benchmark in its official layout, from an archive or a folder.

`Final_Training/Images/CCCCC/TTTTT_FFFFF.ppm` with `GT-CCCCC.csv` beside them: class C, track T (one sign passed by),
frame F. `Final_Test/Images/NNNNN.ppm` with `GT-final_test.csv`. The tables are separated by semicolons. A sign's box is
in pixels of the table's Width and Height: a picture that was stored smaller has its boxes scaled along.
"""

from __future__ import annotations

import csv
import io
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from pathcast.core.arrays import UInt8Array
from pathcast.core.errors import InvalidInputError
from pathcast.core.image_file import decode_image
from pathcast.recognition.crops import square_crop
from pathcast.recognition.sign_classes import CLASS_NAMES

_COLUMNS = ("Filename", "Width", "Height", "Roi.X1", "Roi.Y1", "Roi.X2", "Roi.Y2", "ClassId")
_ARCHIVES = (".tar.gz", ".tgz", ".tar")
_TRACK = re.compile(r"(\d+)_\d+\.\w+")


@dataclass(frozen=True, slots=True)
class SignRow:
    """One row of a table: the picture's path in the set, the sign's box as a share of its sides, and its class.

    `track` names the sign that was passed by, None for test pictures; `place` is the table and the row, for errors.
    """

    path: str
    box: tuple[float, float, float, float]
    label: int
    track: str | None
    place: str


class Files(Protocol):
    """The files of a data set, by path."""

    name: str

    def paths(self) -> list[str]: ...

    def read(self, path: str) -> bytes: ...


class FolderFiles:
    """The files below a folder."""

    def __init__(self, folder: Path) -> None:
        self.name = str(folder)
        self._folder = folder

    def paths(self) -> list[str]:
        return sorted(path.relative_to(self._folder).as_posix() for path in self._folder.rglob("*") if path.is_file())

    def read(self, path: str) -> bytes:
        return (self._folder / path).read_bytes()


class ArchiveFiles:
    """The files in a tar archive, read in one pass into memory; nothing is unpacked."""

    def __init__(self, archive: Path) -> None:
        """Raises InvalidInputError where the archive cannot be read to its end."""
        self.name = str(archive)
        self._content: dict[str, bytes] = {}
        try:
            with tarfile.open(archive, "r|*") as tar:
                for member in tar:
                    file = tar.extractfile(member) if member.isfile() else None
                    if file is not None:
                        self._content[PurePosixPath(member.name).as_posix()] = file.read()
        except (OSError, EOFError, tarfile.TarError) as error:
            raise InvalidInputError(f"{archive}: not a whole tar archive: {error}", hint="download it again") from error

    def paths(self) -> list[str]:
        return sorted(self._content)

    def read(self, path: str) -> bytes:
        return self._content[path]


@dataclass(frozen=True, slots=True)
class SignSet:
    """The rows of all tables, and the files that they name."""

    files: Files
    training: tuple[SignRow, ...]
    test: tuple[SignRow, ...]

    def crop(self, row: SignRow, side: int, margin: int) -> UInt8Array:
        """The sign of a row as a square (see `square_crop`); InvalidInputError names row and file of no image."""
        image = decode_image(self.files.read(row.path))
        if image is None:
            raise InvalidInputError(f"{row.place}: {self.files.name}/{row.path}: not an image that can be read")
        height, width = image.shape[:2]
        left, top, right, bottom = row.box
        box = (left * width, top * height, right * width, bottom * height)
        return square_crop(image, box, side, margin)


def read_gtsrb(source: Path) -> SignSet:
    """The set at `source`: an archive, a folder that holds one, or a folder with Final_Training in or below it.

    Raises InvalidInputError naming file and row where a table or a picture is missing or not as it should be.
    """
    files = _open(source)
    paths = files.paths()
    known = set(paths)
    tables = [path for path in paths if re.search(r"(^|/)Final_Training/Images/\d+/GT-\d+\.csv$", path)]
    if not tables:
        raise InvalidInputError(
            f"{files.name}: expected Final_Training/Images/CCCCC/GT-CCCCC.csv, found none in {len(paths)} files",
            hint="give the official archive of GTSRB, or the folder that it unpacks to",
        )
    training = [row for path in tables for row in _rows(files, path, known, PurePosixPath(path).parent)]
    finals = [path for path in paths if PurePosixPath(path).name == "GT-final_test.csv"]
    test = [row for path in finals[:1] for row in _rows(files, path, known, _test_images(path))]
    return SignSet(files, tuple(training), tuple(test))


def _open(source: Path) -> Files:
    if source.is_file():
        return ArchiveFiles(source)
    if any(source.glob("**/Final_Training")):
        return FolderFiles(source)
    archives = sorted(path for path in source.glob("*") if path.name.endswith(_ARCHIVES))
    if len(archives) != 1:
        raise InvalidInputError(
            f"{source}: expected Final_Training below it or one archive ({', '.join(_ARCHIVES)}) in it, found "
            f"{len(archives)} archives",
            hint="give the official archive of GTSRB, or the folder that it unpacks to",
        )
    return ArchiveFiles(archives[0])


def _test_images(table: str) -> PurePosixPath:
    """The folder of the test pictures: the table lies beside them, or beside their folder."""
    folder = PurePosixPath(table).parent
    return folder if folder.name == "Images" else folder / "Images"


def _rows(files: Files, table: str, known: set[str], folder: PurePosixPath) -> Iterator[SignRow]:
    try:
        text = files.read(table).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"{files.name}/{table}: expected UTF-8 text: {error}") from error
    reader = csv.DictReader(io.StringIO(text), delimiter=";")
    if not set(_COLUMNS) <= set(reader.fieldnames or ()):
        raise InvalidInputError(
            f"{files.name}/{table}: expected columns {';'.join(_COLUMNS)}, got {';'.join(reader.fieldnames or ())}"
        )
    expected = int(folder.name) if folder.name.isdigit() else None
    for number, row in enumerate(reader, start=2):
        yield _row(row, f"{files.name}/{table} row {number}", known, folder, expected)


def _row(
    row: Mapping[str, str | None], place: str, known: set[str], folder: PurePosixPath, expected: int | None
) -> SignRow:
    try:
        width, height, left, top, right, bottom, label = (int(row[column] or "") for column in _COLUMNS[1:])
    except ValueError as error:
        raise InvalidInputError(f"{place}: expected whole numbers for {', '.join(_COLUMNS[1:])}: {error}") from error
    if not (0 <= left < right < width and 0 <= top < bottom < height):
        raise InvalidInputError(
            f"{place}: expected a box inside {width}x{height}, got {left},{top} to {right},{bottom}"
        )
    if not 0 <= label < len(CLASS_NAMES):
        raise InvalidInputError(f"{place}: expected a ClassId of 0 to {len(CLASS_NAMES) - 1}, got {label}")
    if expected is not None and label != expected:
        raise InvalidInputError(f"{place}: expected ClassId {expected}, as the folder is named, got {label}")
    name = row["Filename"] or ""
    path = (folder / name).as_posix()
    if path not in known:
        raise InvalidInputError(f"{place}: there is no picture {path}")
    track = None
    if expected is not None:
        matched = _TRACK.fullmatch(name)
        if matched is None:
            raise InvalidInputError(f"{place}: expected a name TTTTT_FFFFF.ppm, got {name!r}")
        track = f"{label:05}/{matched[1]}"
    # The last pixel belongs to the box.
    box = (left / width, top / height, (right + 1) / width, (bottom + 1) / height)
    return SignRow(path, box, label, track, place)
