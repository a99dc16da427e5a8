import json
from pathlib import Path

import cv2
import pytest
from support.classifier_file import picture_of, write_classifier
from support.gtsrb import write_gtsrb
from support.pictures import VAST_PNG
from typer.testing import CliRunner

from pathcast.cli.main import app
from pathcast.core.errors import InvalidInputError


def run(*arguments: object) -> str:
    result = CliRunner().invoke(
        app, [str(argument) for argument in arguments], catch_exceptions=False, env={"COLUMNS": "120"}
    )
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_classifier(tmp_path / "signs.onnx")


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "stop.png", tmp_path / "bend.ppm"]
    for path, label in zip(paths, (14, 19), strict=True):
        cv2.imwrite(str(path), picture_of(label, 60)[..., ::-1])
    return paths


def test_names_and_probabilities_are_printed_and_written(model: Path, pictures: list[Path], tmp_path: Path) -> None:
    printed = run("classify", *pictures, "--model", model, "--top", 2, "--json", tmp_path / "out.json")
    assert "stop" in printed
    assert "bend to the left" in printed
    written = json.loads((tmp_path / "out.json").read_text())
    assert [(each["image"], each["class_id"], each["class"]) for each in written["images"]] == [
        (str(pictures[0]), 14, "stop"),
        (str(pictures[1]), 19, "bend to the left"),
    ]
    assert all(each["probability"] > 0.9 and len(each["top"]) == 2 for each in written["images"])
    assert written["model"] == "signs"


@pytest.mark.parametrize("content", [None, b"", b"text", VAST_PNG], ids=["missing", "empty", "text", "vast"])
def test_an_unreadable_picture_among_good_ones_writes_nothing(
    model: Path, pictures: list[Path], tmp_path: Path, content: bytes | None
) -> None:
    bad = tmp_path / "bad.png"
    if content is not None:
        bad.write_bytes(content)
    with pytest.raises(InvalidInputError, match=r"bad.png: (not a picture|expected a picture)"):
        run("classify", pictures[0], bad, "--model", model, "--json", tmp_path / "out.json")
    assert not (tmp_path / "out.json").exists()


def test_a_model_of_other_classes_is_refused(tmp_path: Path, pictures: list[Path]) -> None:
    other = write_classifier(tmp_path / "other.onnx", classes=10)
    with pytest.raises(InvalidInputError, match="expected a classifier of 43 signs, got 10 classes"):
        run("classify", pictures[0], "--model", other)
    with pytest.raises(InvalidInputError, match="expected a classifier of 43 signs"):
        run("evaluate", "signs", "--data", tmp_path, "--model", other, "--json", tmp_path / "out.json")
    assert not (tmp_path / "out.json").exists()


def test_evaluation_reads_the_official_test_set(model: Path, tmp_path: Path) -> None:
    data = write_gtsrb(tmp_path / "set")
    for picture in sorted((data / "GTSRB/Final_Test/Images").glob("*.ppm")):
        number = int(picture.stem)
        # Five of six are what the model takes for their class.
        label = (0, 1, 14)[number % 3] if number else 7
        cv2.imwrite(str(picture), picture_of(label, 40)[..., ::-1])
    printed = run("evaluate", "signs", "--data", data, "--model", model, "--json", tmp_path / "out.json")
    assert "83.33%" in printed
    written = json.loads((tmp_path / "out.json").read_text())
    assert (written["samples"], written["accuracy"]) == (6, pytest.approx(5 / 6))
    assert written["classes"]["speed limit 20"]["recall"] == 0.5
    assert written["samples_per_s"] > 0


@pytest.mark.parametrize(
    ("change", "part", "expectation"),
    [
        ("", "val", "is raw data"),
        ("", "all", "expected one of train, val, test"),
        ("GTSRB/Final_Test/GT-final_test.csv", "test", "expected test pictures"),
    ],
)
def test_what_cannot_be_evaluated_is_told(
    model: Path, tmp_path: Path, change: str, part: str, expectation: str
) -> None:
    data = write_gtsrb(tmp_path / "set")
    if change:
        (data / change).unlink()
    with pytest.raises(InvalidInputError, match=expectation):
        run("evaluate", "signs", "--data", data, "--part", part, "--model", model)


def test_the_bench_compares_rates_and_accuracies(model: Path, tmp_path: Path) -> None:
    data = write_gtsrb(tmp_path / "set")
    out = tmp_path / "bench.json"
    run("bench", "signs", "--model", model, "--int8", model, "--data", data, "--rounds", 1, "--json", out)
    rows = {row["name"]: row for row in json.loads(out.read_text())["rows"]}
    assert rows["onnxruntime int8, requests of 16, fastest"]["ratio_to"] == "onnxruntime, requests of 16, fastest"
    assert rows["onnxruntime int8, accuracy lost"]["value"] == 0.0


@pytest.mark.parametrize("command", [["classify", "a.png"], ["evaluate", "signs", "--data", "."], ["bench", "signs"]])
def test_a_served_name_needs_triton(command: list[str]) -> None:
    with pytest.raises(InvalidInputError, match="--name: expected with --triton"):
        run(*command, "--name", "signs_2")
