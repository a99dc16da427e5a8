from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import cv2
import numpy as np
import pytest

from pathcast.core import Detections, InvalidInputError
from pathcast.detection.classes import class_ids_with
from pathcast.detection.coco_json import write_coco
from pathcast.detection.labelled import LabelledImage, LabelledImages
from pathcast.detection.yolo_names import ASSUMED
from pathcast.training.labelling import LabellingSettings
from pathcast.training.recordings import read_mot, read_recordings
from tests.support.pictures import mot_folder, noise, video


def test_a_mot_sequence_keeps_identities_times_and_what_to_ignore(tmp_path: Path) -> None:
    labelled = read_mot(mot_folder(tmp_path / "gate"), tmp_path / "work")
    assert [image.track_ids.tolist() for image in labelled] == [[7]] * 6
    assert [image.ignored.tolist() for image in labelled] == [[False], [True], *[[False]] * 4]
    times = [image.captured_at for image in labelled]
    assert times[5] - times[0] == timedelta(seconds=2.5)
    assert labelled.images[0].xyxy.tolist() == [[10, 10, 20, 30]]


def test_a_mot_sequence_says_which_objects_it_has(tmp_path: Path) -> None:
    folder = mot_folder(tmp_path / "gate")
    # A pedestrian, a car, a standing person who is not scored, a reflection, and what hides people.
    rows = [(1, 1), (1, 3), (0, 7), (1, 12), (1, 9)]
    text = "".join(f"1,{n},10,10,10,20,{flag},{kind},1\n" for n, (flag, kind) in enumerate(rows, start=1))
    (folder / "gt" / "gt.txt").write_text(text)
    labelled = read_mot(folder, tmp_path / "work")
    first = labelled.images[0]
    assert first.class_ids.tolist() == [0, 2, 0, 0]
    assert first.ignored.tolist() == [False, False, True, True]
    assert first.track_ids.tolist() == [1, 2, 3, 4]
    assert labelled.about == {"other_classes": {"MOT's 9": 1}}
    (folder / "gt" / "gt.txt").write_text("1,1,10,10,10,20,1,14,1\n")
    with pytest.raises(InvalidInputError, match="classes of MOT16, 1 to 13 in column 8, got 14"):
        read_mot(folder, tmp_path / "work")


def test_the_classes_of_a_sequence_are_those_that_cvat_names(tmp_path: Path) -> None:
    folder = mot_folder(tmp_path / "gate")
    (folder / "gt" / "labels.txt").write_text("Car\nhelmet\nWalker\n")
    rows = [f"1,{kind},{10 * kind},10,10,20,{int(kind != 4)},{min(kind, 3)},1\n" for kind in (1, 2, 3, 4)]
    (folder / "gt" / "gt.txt").write_text("".join(rows))

    def look(pixels: np.ndarray) -> Detections:
        return Detections([[30, 20, 50, 40], [5, 5, 15, 15]], [0.8, 0.8], [2, 1])

    # The sequence has its cars, which a teacher would add once more, and no bicycles.
    labelled = read_mot(folder, tmp_path / "work", look, class_of=class_ids_with({"walker": "person"}))
    first = labelled.images[0]
    assert (first.class_ids.tolist(), first.track_ids.tolist()) == ([2, 0, 0, 1], [1, 3, 4, -1])
    assert first.ignored.tolist()[:3] == [False, False, True]
    assert labelled.about == {"class_names": "labels.txt", "other_classes": {"helmet": 1}}
    (folder / "gt" / "gt.txt").write_text("1,1,10,10,10,20,1,4,1\n")
    with pytest.raises(InvalidInputError, match="classes of .*gt/labels.txt, 1 to 3 in column 8, got 4"):
        read_mot(folder, tmp_path / "work")


def test_a_sequence_that_is_not_described_is_told_what_to_write(tmp_path: Path) -> None:
    folder = mot_folder(tmp_path / "gate")
    (folder / "seqinfo.ini").unlink()
    with pytest.raises(InvalidInputError, match="gate/seqinfo.ini: no such file") as caught:
        read_recordings(tmp_path, tmp_path / "work")
    assert "write it (CVAT leaves it out)" in str(caught.value.hint)
    (empty,) = read_recordings(tmp_path, tmp_path / "work", go_on=True)
    assert [fault.kind for fault in empty.faults] == ["unreadable set"]


def test_a_check_goes_on_after_a_sequence_whose_description_is_broken(tmp_path: Path) -> None:
    folder = mot_folder(tmp_path / "gate")
    text = (folder / "seqinfo.ini").read_text()
    (folder / "seqinfo.ini").write_text(text.replace("seqLength=6", "seqLength=x"))
    mot_folder(tmp_path / "yard")
    broken, whole = read_recordings(tmp_path, tmp_path / "work", go_on=True)
    assert [fault.kind for fault in broken.faults] == ["unreadable set"]
    assert len(whole) == 6


def test_frames_of_a_sequence_stay_below_the_folder_for_them(tmp_path: Path) -> None:
    folder = mot_folder(tmp_path / "raw" / "gate", pictures=0)
    text = (folder / "seqinfo.ini").read_text()
    (folder / "seqinfo.ini").write_text(text.replace("name=gate", "name=../../outside").replace("=img1", "=none"))
    video(tmp_path / "raw" / "films" / "gate.avi", 90)
    (tmp_path / "raw" / "films" / "gate.avi").rename(folder / "gate.avi")
    (labelled,) = read_recordings(folder, tmp_path / "work" / "deep")
    assert [labelled.read(image).shape for image in labelled] == [(48, 64, 3)] * 6
    frames_ = list(tmp_path.rglob("*.jpg"))
    assert len(frames_) == 6
    assert all(path.is_relative_to(tmp_path / "work" / "deep") for path in frames_)


def test_a_mot_sequence_has_its_images_where_it_says(tmp_path: Path) -> None:
    folder = mot_folder(tmp_path / "gate")
    (folder / "img1").rename(folder / "frames")
    for path in (folder / "frames").iterdir():
        cv2.imwrite(str(path.with_suffix(".png")), cv2.imread(str(path)))
        path.unlink()
    text = (folder / "seqinfo.ini").read_text()
    (folder / "seqinfo.ini").write_text(text.replace("imDir=img1", "imDir=frames").replace(".jpg", ".png"))
    labelled = read_mot(folder, tmp_path / "work")
    assert labelled.images[0].name == "frames/000001.png"
    assert labelled.read(labelled.images[0]).shape == (48, 64, 3)


def test_two_videos_of_one_name_keep_their_own_frames(tmp_path: Path) -> None:
    video(tmp_path / "raw" / "monday" / "gate.avi", 40)
    video(tmp_path / "raw" / "tuesday" / "gate.avi", 200)
    mot_folder(tmp_path / "raw" / "yard", pictures=0)
    text = (tmp_path / "raw" / "yard" / "seqinfo.ini").read_text()
    (tmp_path / "raw" / "yard" / "seqinfo.ini").write_text(text.replace("imDir=img1", "imDir=none"))
    video(tmp_path / "raw" / "yard" / "video" / "x.avi", 120)
    (tmp_path / "raw" / "yard" / "video" / "x.avi").rename(tmp_path / "raw" / "yard" / "gate.avi")

    def look(pixels: np.ndarray) -> Detections:
        return Detections([[10, 10, 20, 30]], [0.9], [0])

    sets = read_recordings(tmp_path / "raw", tmp_path / "work", teacher=look, labelling=LabellingSettings(every=1))
    seen = {image.camera: int(labelled.read(image).mean()) for labelled in sets for image in labelled}
    assert seen == pytest.approx({"gate": 40, "gate-2": 200, "gate-3": 120}, abs=3)


def test_the_videos_of_sequences_are_learned_once(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    for name in ("gate", "hall", "yard", "lane"):
        video(tmp_path / name / "x.avi", 120)
        if name != "hall":
            # The lane has images beside its video.
            info = mot_folder(raw / name, pictures=6 * (name == "lane")) / "seqinfo.ini"
            info.write_text(info.read_text().replace("name=gate", f"name={name}"))
        (tmp_path / name / "x.avi").rename(raw / f"{name}.avi")

    def look(pixels: np.ndarray) -> Detections:
        return Detections([[10, 10, 20, 30]], [0.9], [0])

    sets = read_recordings(raw, tmp_path / "work", teacher=look, labelling=LabellingSettings(every=1))
    assert sorted({image.camera for labelled in sets for image in labelled}) == ["gate", "hall", "lane", "yard"]


def test_cocos_own_layout_is_found_with_its_boxes_alone(tmp_path: Path) -> None:
    for subset in ("train2017", "val2017"):
        noise(tmp_path / subset / "a.png", 1)
        image = LabelledImage("a.png", 64, 48, [[10, 10, 20, 30]], [0])
        for kind in ("instances", "person_keypoints"):
            write_coco(tmp_path / "annotations" / f"{kind}_{subset}.json", LabelledImages(Path(), (image,)))
    sets = read_recordings(tmp_path, tmp_path / "work")
    assert [labelled.root.name for labelled in sets] == ["train2017", "val2017"]


def test_a_teacher_adds_the_classes_that_mot_does_not_label(tmp_path: Path) -> None:
    def look(pixels: np.ndarray) -> Detections:
        return Detections([[10, 10, 20, 30], [30, 20, 50, 40]], [0.9, 0.8], [0, 2])

    labelled = read_mot(mot_folder(tmp_path / "gate"), tmp_path / "work", look)
    assert labelled.images[3].class_ids.tolist() == [0, 2]
    assert labelled.images[3].track_ids.tolist() == [7, -1]


def test_all_layouts_below_a_folder_are_found(tmp_path: Path) -> None:
    mot_folder(tmp_path / "gate")
    noise(tmp_path / "pictures" / "images" / "a.png", 1)
    (tmp_path / "pictures" / "labels").mkdir()
    (tmp_path / "pictures" / "labels" / "a.txt").write_text("2 0.5 0.5 0.25 0.5\n")
    told: list[str] = []
    sets = read_recordings(tmp_path, tmp_path / "work", note=told.append)
    assert sorted(len(each) for each in sets) == [1, 6]
    assert told == [f"{tmp_path}/pictures: class numbers are {ASSUMED}"]
    (only,) = read_recordings(tmp_path, tmp_path / "work", without=("gate",))
    assert only.boxes_by_class() == {"car": 1}


def test_labels_of_pathcast_label_are_found_by_their_folder_and_other_json_is_left(tmp_path: Path) -> None:
    noise(tmp_path / "labels_of_gate" / "images" / "a.png", 1)
    image = LabelledImage("images/a.png", 64, 48, [[10, 10, 20, 30]], [0], camera="gate")
    write_coco(tmp_path / "labels_of_gate" / "labels.json", LabelledImages(Path(), (image,)))
    (tmp_path / "labels_of_gate" / "counts.json").write_text('{"images": 1}')
    (only,) = read_recordings(tmp_path, tmp_path / "work")
    assert only.boxes_by_class() == {"person": 1}
    assert only.read(only.images[0]).shape == (48, 64, 3)


def test_a_folder_of_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="found none"):
        read_recordings(tmp_path, tmp_path / "work")
