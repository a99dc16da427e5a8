from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pathcast.core import InvalidInputError
from pathcast.detection.coco_json import write_coco
from pathcast.detection.corrections import corrected
from pathcast.detection.labelled import LabelledImage, LabelledImages, with_own_identities
from pathcast.detection.yolo_names import ASSUMED
from pathcast.training.detector import prepare_images
from pathcast.training.detector_data import SplitSettings, prepare, read_prepared, runs, split
from tests.support.pictures import mot_folder, noise, video

START = datetime(2024, 1, 1, tzinfo=UTC)


def recording(camera: str, seconds: int, root: Path = Path()) -> LabelledImages:
    """One image a second with one person."""
    images = tuple(
        LabelledImage(
            f"{camera}/{second:04d}.png",
            64,
            48,
            [[10, 10, 20, 30]],
            [0],
            camera=camera,
            captured_at=START + timedelta(seconds=second),
        )
        for second in range(seconds)
    )
    return LabelledImages(root, images)


def seconds_of(labelled: LabelledImages, camera: str) -> list[int]:
    return [int(image.name[-8:-4]) for image in labelled if image.camera == camera]


def test_every_camera_is_cut_by_time_with_gaps() -> None:
    both = LabelledImages(Path(), recording("a", 101).images + recording("b", 51).images)
    parts = split(both, SplitSettings(val=0.1, test=0.2, gap_s=2))
    assert seconds_of(parts["train"], "a") == list(range(68))
    assert seconds_of(parts["val"], "a") == list(range(70, 78))
    assert seconds_of(parts["test"], "a") == list(range(80, 101))
    assert seconds_of(parts["train"], "b") == list(range(33))
    assert seconds_of(parts["test"], "b") == list(range(40, 51))


def test_of_a_short_recording_a_gap_takes_a_twentieth_and_leaves_something_to_choose_the_epoch_by() -> None:
    parts = split(recording("a", 21), SplitSettings(val=0.1, test=0.2, gap_s=2))
    assert {part: seconds_of(labelled, "a") for part, labelled in parts.items()} == {
        "train": list(range(13)),
        "val": [14],
        "test": [16, 17, 18, 19, 20],
    }


@pytest.mark.parametrize(
    ("shares", "sizes"),
    [
        ({"val": 0.25, "test": 0.0}, (73, 26, 0)),
        ({"val": 0.0, "test": 0.25}, (73, 0, 26)),
        ({"val": 0.0, "test": 0.0}, (101, 0, 0)),
    ],
)
def test_before_a_part_that_is_not_wanted_there_is_no_gap(shares: dict[str, float], sizes: tuple[int, ...]) -> None:
    parts = split(recording("a", 101), SplitSettings(**shares, gap_s=2))
    assert tuple(len(parts[part]) for part in ("train", "val", "test")) == sizes


def test_a_held_out_camera_is_test_alone() -> None:
    both = LabelledImages(Path(), recording("a", 11).images + recording("b", 11).images)
    parts = split(both, SplitSettings(held_out=("b",)))
    assert seconds_of(parts["test"], "b") == list(range(11))
    assert not seconds_of(parts["train"], "b")
    assert not seconds_of(parts["val"], "b")


def stills(folder: str, count: int) -> tuple[LabelledImage, ...]:
    """Frames without a time, numbered without leading zeros, in no order."""
    order = np.random.default_rng(1).permutation(count)
    return tuple(LabelledImage(f"{folder}/f{number}.png", 64, 48, camera="yolo") for number in order)


def in_time(name: str) -> tuple[str, int]:
    return Path(name).parent.name, int(Path(name).stem.removeprefix("f"))


def numbers_of(labelled: LabelledImages, folder: str) -> list[int]:
    return sorted(int(Path(image.name).stem[1:]) for image in labelled if image.name.startswith(f"{folder}/"))


def test_frames_without_time_are_cut_in_the_order_of_their_names_each_folder_with_gaps() -> None:
    both = LabelledImages(Path(), stills("a", 400) + stills("b", 100))
    parts = split(both, SplitSettings(stills_val=0.2, stills_test=0.3, stills_gap=8))
    assert numbers_of(parts["train"], "a") == list(range(192))
    assert numbers_of(parts["val"], "a") == list(range(200, 272))
    assert numbers_of(parts["test"], "a") == list(range(280, 400))
    # At most a twentieth of a folder is left out at a border.
    assert numbers_of(parts["train"], "b") == list(range(45))
    assert numbers_of(parts["val"], "b") == list(range(50, 65))
    assert numbers_of(parts["test"], "b") == list(range(70, 100))


@pytest.mark.parametrize(
    ("images", "count", "sizes"),
    [
        ((), 3, []),
        (recording("a", 2).images, 3, [1, 1]),
        (recording("a", 7).images, 3, [3, 2, 2]),
        (recording("b", 6).images + recording("a", 6).images, 4, [3, 3, 3, 3]),
        (stills("b", 12) + stills("a", 12), 4, [6, 6, 6, 6]),
    ],
)
def test_runs_are_images_in_a_row_of_equal_length(
    images: tuple[LabelledImage, ...], count: int, sizes: list[int]
) -> None:
    shuffled = [images[number] for number in np.random.default_rng(2).permutation(len(images))]
    numbers = runs(LabelledImages(Path(), tuple(shuffled)), count)
    found = [
        sorted((image.name for image, own in zip(shuffled, numbers, strict=True) if own == number), key=in_time)
        for number in np.unique(numbers)
    ]
    assert [len(names) for names in found] == sizes
    assert [name for names in found for name in names] == sorted((image.name for image in images), key=in_time)


def test_small_folders_are_cut_together_and_nothing_is_left_out_where_nothing_is_held_out() -> None:
    small = LabelledImages(Path(), tuple(each for name in "abcde" for each in stills(name, 8)))
    parts = split(small, SplitSettings(stills_val=0.25, stills_test=0.0))
    assert {name: len(numbers_of(parts["val"], name)) for name in "abcde"} == {"a": 0, "b": 0, "c": 0, "d": 2, "e": 8}
    assert len(parts["train"]) == 28
    assert numbers_of(parts["train"], "d") == [0, 1, 2, 3]
    assert not len(parts["test"])


@settings(max_examples=50, deadline=None)
@example(counts=[2], val=0.375, test=0.375, gap=0)
@example(counts=[1], val=0.4, test=0.0, gap=0)
@example(counts=[4], val=0.4, test=0.4, gap=0)
@given(
    counts=st.lists(st.integers(1, 150), min_size=1, max_size=4),
    val=st.floats(0, 0.4),
    test=st.floats(0, 0.4),
    gap=st.integers(0, 12),
)
def test_no_part_has_an_image_between_those_of_another(counts: list[int], val: float, test: float, gap: int) -> None:
    images = tuple(image for index, count in enumerate(counts) for image in stills(f"f{index}", count))
    parts = split(LabelledImages(Path(), images), SplitSettings(stills_val=val, stills_test=test, stills_gap=gap))
    names = {part: {image.name for image in labelled} for part, labelled in parts.items()}
    assert len(parts["train"]) > 0
    for index, count in enumerate(counts):
        where = [next((part for part in names if f"f{index}/f{n}.png" in names[part]), None) for n in range(count)]
        kept = [part for part in where if part is not None]
        assert kept == sorted(kept, key=["train", "val", "test"].index)
        for before, after in pairwise(np.flatnonzero([part is not None for part in where]).tolist()):
            if where[before] != where[after] and count >= 20:
                assert after - before - 1 >= min(gap, count // 20)


@pytest.mark.parametrize(
    "wrong", [{"val": 0.5, "test": 0.5}, {"val": -0.1}, {"gap_s": -1.0}, {"stills_val": 1.0}, {"stills_gap": -1}]
)
def test_shares_that_leave_nothing_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidInputError, match="split: expected shares"):
        SplitSettings(**wrong)  # type: ignore[arg-type]


def test_a_prepared_folder_says_what_was_left_out_and_why(tmp_path: Path) -> None:
    source = recording("a", 30, tmp_path / "raw")
    for second in range(29):
        noise(source.root / f"a/{second:04d}.png", 3 if second == 4 else second)
    broken = source.images[6].changed(xyxy=[[50, 10, 80, 30]])
    labelled = LabelledImages(source.root, (*source.images[:6], broken, *source.images[7:]))
    card = prepare([labelled], tmp_path / "data", SplitSettings(gap_s=0), about={"teacher": None})
    assert card["faults"] == {"unreadable": 1, "box reaches over the image": 1}
    assert card["left_out_of_training"] == {"near-duplicate": 1}
    assert "each folder by itself, in the order of the names" in card["split"]["rule"]
    train = read_prepared(tmp_path / "data", "train")
    assert len(train) == card["parts"]["train"]["images"]
    assert "0004.png" not in {Path(image.name).name for image in train}
    assert train.read(train.images[0]).shape == (48, 64, 3)
    assert next(image for image in train if image.name.endswith("0006.png")).xyxy.tolist() == [[50, 10, 64, 30]]
    listed = json.loads((tmp_path / "data" / "faults.json").read_text())
    assert {entry["kind"] for entry in listed} == {"unreadable", "box reaches over the image", "near-duplicate"}


def test_nothing_to_learn_from_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="none is left of 0"):
        prepare([recording("a", 3, tmp_path)], tmp_path / "data")


@pytest.mark.parametrize(("val", "images"), [(0.0, 0), (0.2, 4)])
def test_nothing_to_choose_the_epoch_by_is_an_error(val: float, images: int, tmp_path: Path) -> None:
    source = recording("a", 21, tmp_path / "raw")
    for second in range(21):
        noise(source.root / f"a/{second:04d}.png", second)
    empty = tuple(image.chosen([False]) if 12 <= number < 17 else image for number, image in enumerate(source))
    with pytest.raises(
        InvalidInputError, match=rf"part val has none \(images: train \d+, val {images}, test"
    ) as caught:
        prepare([LabelledImages(source.root, empty)], tmp_path / "data", SplitSettings(val=val, test=0.2, gap_s=0))
    assert "val of each recording, stills_val" in str(caught.value.hint)


def test_the_card_says_who_labelled_and_what_people_corrected(tmp_path: Path) -> None:
    about = {"teacher": "detector 3", "labelling": {"sure": 0.4}}
    source = recording("gate", 21, tmp_path / "yard")
    for second in range(21):
        noise(source.root / f"gate/{second:04d}.png", second)
    back = LabelledImages(Path(), source.images[3:5])
    labelled, _ = corrected(corrected(LabelledImages(source.root, source.images, about=about), back)[0], back)
    write_coco(source.root / "labels.json", labelled)
    card = prepare_images(source.root / "labels.json", tmp_path / "data", {})
    counts = {"images": 4, "kept": 4, "changed": 0, "added": 0, "removed": 0}
    assert card["sets"] == [{"cameras": ["gate"], "images": 21, **about, "corrected": counts}]
    assert "teacher" not in card["about"]


def test_what_is_left_out_or_assumed_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    raw = tmp_path / "raw"
    video(raw / "monday" / "gate.avi", 40)
    for number in range(20):
        noise(raw / "set" / "images" / f"{number}.png", number)
        (raw / "set" / "labels").mkdir(exist_ok=True)
        (raw / "set" / "labels" / f"{number}.txt").write_text("0 0.5 0.5 0.2 0.4\n16 0.5 0.5 0.2 0.4\n")
    card = prepare_images(raw, tmp_path / "data", {})
    said = [
        f"{raw}/monday/gate.avi: left out, a video without labels needs a teacher",
        f"{raw}/set: class numbers are {ASSUMED}",
        f"{raw}/set: 20 boxes of classes that the detector does not have: 20 COCO's 16",
    ]
    assert caplog.messages == card["about"]["notes"] == said
    assert card["sets"] == [
        {"cameras": ["set"], "images": 20, "class_names": ASSUMED, "other_classes": {"COCO's 16": 20}}
    ]


def test_two_sets_of_one_name_and_their_people_stay_apart(tmp_path: Path) -> None:
    sets = []
    for day in ("monday", "tuesday"):
        source = recording("gate", 30, tmp_path / day / "yard")
        for second in range(30):
            noise(source.root / f"gate/{second:04d}.png", second + 100 * len(sets))
        people = tuple(image.changed(track_ids=[1]) for image in source)
        sets.append(LabelledImages(source.root, people))
    pixels = [labelled.read(labelled.images[0]) for labelled in sets]
    prepare(sets, tmp_path / "data", SplitSettings(gap_s=0))
    train = read_prepared(tmp_path / "data", "train")
    first, second = (image for image in train if image.name.endswith("/0000.png"))
    np.testing.assert_array_equal(train.read(first), pixels[0])
    np.testing.assert_array_equal(train.read(second), pixels[1])
    assert first.track_ids.tolist() != second.track_ids.tolist()


def test_images_whose_labels_are_not_read_whole_are_not_learned_from(tmp_path: Path) -> None:
    for number in range(30):
        noise(tmp_path / "raw" / "images" / f"{number:02d}.png", number)
        (tmp_path / "raw" / "labels").mkdir(exist_ok=True)
        rows = "0 0.5 0.5 0.2 0.4\n" + ("0 0.2 0.2" if number == 3 else "")
        (tmp_path / "raw" / "labels" / f"{number:02d}.txt").write_text(rows)
    card = prepare_images(tmp_path / "raw", tmp_path / "data", {})
    assert card["faults"] == {"unreadable labels": 1}
    names = {Path(image.name).name for part in ("train", "val") for image in read_prepared(tmp_path / "data", part)}
    assert "03.png" not in names
    assert "02.png" in names
    (tmp_path / "raw" / "broken.json").write_text('{"annotations": []}')
    (tmp_path / "raw" / "images").rename(tmp_path / "raw" / "yard")
    (tmp_path / "raw" / "labels").rename(tmp_path / "raw" / "rows")
    with pytest.raises(InvalidInputError, match="broken.json: unreadable set: .*'categories' is missing"):
        prepare_images(tmp_path / "raw", tmp_path / "other", {})


def test_an_image_that_is_listed_twice_is_not_learned_from(tmp_path: Path) -> None:
    source = recording("a", 30, tmp_path / "raw")
    for second in range(30):
        noise(source.root / f"a/{second:04d}.png", second)
    # Nobody knows which of the two rows has its boxes.
    again = source.images[3].changed(xyxy=[[30, 10, 40, 30]])
    card = prepare([LabelledImages(source.root, (*source.images, again))], tmp_path / "data", SplitSettings(gap_s=0))
    assert card["faults"] == {"listed twice": 1}
    names = [Path(image.name).name for image in read_prepared(tmp_path / "data", "train")]
    assert "0003.png" not in names
    assert "0002.png" in names
    assert sum(card["samples"].values()) == 29


def pedestrians(folder: Path) -> Path:
    """COCO JSON of 20 images, each with a box of a class that the platform has under another name."""
    for number in range(20):
        noise(folder / "images" / f"{number:02d}.png", number)
    images = [{"id": n, "file_name": f"images/{n:02d}.png", "width": 64, "height": 48} for n in range(20)]
    boxes = [{"id": n, "image_id": n, "category_id": 7, "bbox": [10, 10, 10, 20]} for n in range(20)]
    document = {"images": images, "annotations": boxes, "categories": [{"id": 7, "name": "Pedestrian"}]}
    (folder / "labels.json").write_text(json.dumps(document))
    return folder / "labels.json"


def test_classes_under_other_names_are_given_or_the_set_is_refused(tmp_path: Path) -> None:
    labels = pedestrians(tmp_path / "walkway")
    with pytest.raises(
        InvalidInputError, match="expected boxes of person, .*, got 20 boxes .*: 20 Pedestrian"
    ) as caught:
        prepare_images(labels, tmp_path / "none", {})
    assert "--option 'classes=" in str(caught.value.hint)
    card = prepare_images(labels, tmp_path / "data", {"classes": {"pedestrian": "person"}})
    assert read_prepared(tmp_path / "data", "train").boxes_by_class() == {"person": card["samples"]["train"]}
    assert card["about"]["classes"] == {"pedestrian": "person"}
    assert "other_classes" not in card["sets"][0]


@pytest.mark.parametrize(
    ("classes", "expectation"),
    [
        ({"pedestrian": "human"}, "classes: pedestrian: expected one of person, bicycle, .*, got 'human'"),
        ("pedestrian", "classes: expected names by name, got 'pedestrian'"),
    ],
)
def test_classes_that_the_platform_does_not_have_are_refused(classes: object, expectation: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=expectation):
        prepare_images(tmp_path, tmp_path / "data", {"classes": classes})


def test_the_family_prepares_and_refuses_unknown_options(tmp_path: Path) -> None:
    mot_folder(tmp_path / "raw" / "gate")
    card = prepare_images(tmp_path / "raw", tmp_path / "data", {"val": 0.2, "test": 0.2, "gap_s": 0})
    assert {part: facts["images"] for part, facts in card["parts"].items()} == {"train": 3, "val": 1, "test": 2}
    with pytest.raises(InvalidInputError, match="no option speed; expected one of .*teacher"):
        prepare_images(tmp_path / "raw", tmp_path / "other", {"speed": 1})


def test_objects_of_different_recordings_are_different_objects() -> None:
    def seen(camera: str, identities: list[int]) -> LabelledImage:
        boxes = [[0, 0, 9, 9]] * len(identities)
        return LabelledImage("", 64, 48, boxes, [0] * len(identities), track_ids=identities, camera=camera)

    images = (seen("a", [1, 2]), seen("b", [1, -1]), seen("a", [2]))
    sets = with_own_identities([LabelledImages(Path(), images), LabelledImages(Path(), images[:1])])
    assert [[image.track_ids.tolist() for image in own] for own in sets] == [[[1, 2], [3, -1], [2]], [[4, 5]]]
