"""What the commands for signs and actions say to data that cannot be used, and that they then write nothing."""

from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import pytest
from typer.testing import CliRunner

from pathcast.cli.main import app
from pathcast.core.errors import InvalidInputError
from tests.support.classifier_file import picture_of, write_classifier
from tests.support.clips import moving_square, write_brightness_model, write_strip
from tests.support.gtsrb import write_gtsrb

Change = Callable[[Path], object]
SIGNS, CLIPS = "signs", "clips"
TABLE = "GTSRB/Final_Training/Images/00001/GT-00001.csv"
TEST_TABLE = "GTSRB/Final_Test/GT-final_test.csv"


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        # TensorFlow may be at work in this process already, on all threads.
        patch.setattr("pathcast.training.backend.use_tensorflow", lambda *_: None)
        yield


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with data and models that are good: `signs`, `clips`, `signs.onnx`, `actions/1/model.onnx`."""
    write_gtsrb(tmp_path / SIGNS)
    for index in range(9):
        for moves, name in ((False, "bright"), (True, "dark")):
            write_strip(tmp_path / CLIPS / name / f"{index}.png", moving_square(10 * index + moves, moves=moves))
    write_classifier(tmp_path / "signs.onnx")
    write_brightness_model(tmp_path / "actions")
    cv2.imwrite(str(tmp_path / "sign.png"), picture_of(14, 60)[..., ::-1])
    return tmp_path


def empty(name: str) -> Change:
    def change(folder: Path) -> None:
        (folder / name).mkdir()

    return change


def text(name: str, content: str = "not what its name says") -> Change:
    def change(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)

    return change


def replaced(name: str, old: str, new: str) -> Change:
    def change(folder: Path) -> None:
        (folder / name).write_text((folder / name).read_text().replace(old, new))

    return change


def moved(name: str, target: str) -> Change:
    return lambda folder: (folder / name).rename(folder / target)


def dark_by_one_actor(folder: Path) -> None:
    for path in (folder / CLIPS / "dark").glob("[1-9].png"):
        path.unlink()


def nothing(_: Path) -> None:
    """The data are good."""


TRAIN_SIGNS, TRAIN_ACTIONS = "train signs --output out --data", "train actions --output out --data"
EVALUATE_SIGNS = "evaluate signs --model signs.onnx --json out/scores.json --data"
EVALUATE_ACTIONS = "evaluate actions --model actions/1/model.onnx --json out/scores.json --data"
BY_FOLDS = "evaluate actions --folds 2 --json out/scores.json --data"
ONE_OUT = "evaluate actions --leave-one-out --json out/scores.json --data"
CLASSIFY = "classify --model signs.onnx --json out/signs.json"
ACT = "act --model actions/1/model.onnx --json out/actions.json"

UNREADABLE = [
    (
        text("signs/GTSRB/Final_Training/Images/00001/00000_00000.ppm"),
        f"{TRAIN_SIGNS} signs",
        "00000_00000.ppm: not an",
    ),
    (text("signs/GTSRB/Final_Test/Images/00003.ppm"), f"{EVALUATE_SIGNS} signs", r"row 5: .*00003.ppm: not an image"),
    (text("broken.png"), f"{CLASSIFY} sign.png broken.png", "broken.png: not a picture that can be read"),
    (nothing, f"{CLASSIFY} absent.png", "absent.png: expected a picture"),
    *[
        (text("clips/dark/broken.avi"), f"{command} clips", r"broken.avi: expected a clip")
        for command in (TRAIN_ACTIONS, BY_FOLDS, EVALUATE_ACTIONS)
    ],
    *[
        (text("clips/dark/broken.png"), f"{command} clips", r"broken.png: expected an image")
        for command in (TRAIN_ACTIONS, BY_FOLDS, EVALUATE_ACTIONS)
    ],
    (text("broken.mp4"), f"{ACT} broken.mp4", "broken.mp4: expected a video file"),
    (text("images/broken.png"), f"{ACT} images --fps 5", "broken.png: cannot be decoded"),
    (text("broken.onnx"), "classify --model broken.onnx --json out/signs.json sign.png", "broken.onnx: "),
    (text("actions/1/model.onnx"), f"{EVALUATE_ACTIONS} clips", "model.onnx: not a model"),
    (
        moved("signs.onnx", "actions/1/model.onnx"),
        f"{EVALUATE_ACTIONS} clips",
        r"model.onnx: expected inputs frames and outputs",
    ),
]

EMPTY = [
    *[
        (empty("none"), f"{command} none", "none: expected Final_Training below it or one archive")
        for command in (TRAIN_SIGNS, EVALUATE_SIGNS)
    ],
    *[
        (empty("none"), f"{command} none", "none: expected a folder for each action with its clips")
        for command in (TRAIN_ACTIONS, BY_FOLDS, ONE_OUT, EVALUATE_ACTIONS)
    ],
    *[
        (empty("clips/jump"), f"{command} clips", "clips: class jump: expected at least one clip")
        for command in (TRAIN_ACTIONS, BY_FOLDS, ONE_OUT, EVALUATE_ACTIONS)
    ],
    *[
        (nothing, f"{command} absent", "absent: no such")
        for command in (TRAIN_SIGNS, EVALUATE_SIGNS, TRAIN_ACTIONS, BY_FOLDS, ONE_OUT, EVALUATE_ACTIONS)
    ],
    (nothing, f"{ACT} absent.mp4", "absent.mp4: no such file or folder"),
    (empty("none"), f"{ACT} none --fps 5", "none: expected a folder of images or videos"),
    (
        text(f"signs/{TABLE}", "Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId\n"),
        f"{TRAIN_SIGNS} signs",
        "limit 30",
    ),
    (
        text(f"signs/{TEST_TABLE}", "Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId\n"),
        f"{EVALUATE_SIGNS} signs",
        "expected test pictures",
    ),
]

CLASSES = [
    (lambda folder: write_classifier(folder / "signs.onnx", classes=10), f"{CLASSIFY} sign.png", "43 signs, got 10"),
    (lambda folder: write_classifier(folder / "signs.onnx", classes=10), f"{EVALUATE_SIGNS} signs", "43 signs, got 10"),
    (replaced("actions/config.pbtxt", "bright,dark", "a,b,c"), f"{ACT} sign.png", "expected 3 classes .* got 2"),
    (replaced("actions/config.pbtxt", "bright,dark", "a,b,c"), f"{EVALUATE_ACTIONS} clips", "expected 3 classes"),
    (moved("clips/dark", "dark"), f"{TRAIN_ACTIONS} clips", "expected two classes or more, got bright"),
    (moved("clips/dark", "dark"), f"{EVALUATE_ACTIONS} clips", "expected two classes or more, got bright"),
    (
        replaced(f"signs/{TABLE}", ";1\n", ";99\n"),
        f"{TRAIN_SIGNS} signs",
        "row 2: expected a ClassId of 0 to 42, got 99",
    ),
    (lambda folder: write_gtsrb(folder / "one", (14,)), f"{TRAIN_SIGNS} one", "expected samples of two or more"),
]

NEVER_SEEN = [
    (replaced(f"signs/{TEST_TABLE}", ";14\n", ";17\n"), f"{TRAIN_SIGNS} signs", "got none of no entry"),
    (moved("clips/dark", "clips/jump"), f"{EVALUATE_ACTIONS} clips", "class jump: .* trained for bright, dark alone"),
    *[
        (change, f"{command} clips --option group_by=name --option held_out={actor}", said)
        for change, actor, said in (
            (dark_by_one_actor, "0", "class dark: no clip to learn from"),
            (nothing, "nobody", "held_out nobody: no such group"),
        )
        for command in (TRAIN_ACTIONS, BY_FOLDS)
    ],
]


@pytest.mark.parametrize(("change", "command", "said"), UNREADABLE + EMPTY + CLASSES + NEVER_SEEN)
def test_bad_input_is_told_and_nothing_is_written(
    change: Change, command: str, said: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(place)
    monkeypatch.chdir(place)
    with pytest.raises(InvalidInputError, match=said):
        CliRunner().invoke(app, command.split(), catch_exceptions=False)
    assert not [path for path in (place / "out").rglob("*") if path.is_file()]
