from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pathcast.core.errors import InvalidInputError
from pathcast.detection.labelled import LabelledImage, LabelledImages
from pathcast.detection.settings import DetectorSettings
from pathcast.training import family_tuning
from pathcast.training.detector import FAMILY
from pathcast.training.detector_task import ALL, LOOKS, DetectorTask
from pathcast.training.loop import fit
from pathcast.training.prepared import PreparedData
from pathcast.training.settings import TrainingSettings
from pathcast.training.share import Share
from pathcast.training.train_family import Job, train_family
from pathcast.training.workers import Workers

NETWORK = DetectorSettings(width=0.125, input_width=96, input_height=64, embedding=8)


def seen(*images: list[int], ignored: bool = False) -> LabelledImages:
    """Images with the boxes of these identities."""
    found = [
        LabelledImage(
            f"{number}.png",
            96,
            64,
            [[4, 8, 26, 56]] * len(identities),
            [0] * len(identities),
            ignored=[ignored] * len(identities),
            track_ids=identities,
        )
        for number, identities in enumerate(images)
    ]
    return LabelledImages(Path(), tuple(found))


TWO = seen([0, 1], [1])


@pytest.mark.parametrize(
    ("labelled", "got"),
    [
        (seen(), "got 0 in 0 boxes with an identity, of 0 images"),
        (seen([-1, -1], [-1, -1]), "got 0 in 0 boxes with an identity, of 2 images"),
        (seen([1, 2], [3]), "got 3 in 3 boxes"),
        (seen([1], [1]), "got 1 in 2 boxes"),
        (seen([1, 2], [1, 2], ignored=True), "got 0 in 0 boxes"),
    ],
    ids=["no image", "unknown", "each seen once", "nobody else", "ignored"],
)
@pytest.mark.parametrize("part", ["train", "val"])
def test_looks_need_objects_to_tell_apart_in_both_parts(
    labelled: LabelledImages, got: str, part: str, caplog: pytest.LogCaptureFixture
) -> None:
    parts = {"train": TWO, "val": TWO} | {part: labelled}
    with pytest.raises(InvalidInputError, match=f"in the part {part}, .*{got}") as caught:
        DetectorTask(**parts, settings=NETWORK, learn=LOOKS)
    assert caught.value.hint is not None
    caplog.clear()
    DetectorTask(**parts, settings=NETWORK, learn=ALL)
    warned = "no appearance vectors: expected two or more objects" in caplog.text
    assert warned == (part == "train")
    caplog.clear()
    DetectorTask(**parts, settings=replace(NETWORK, embedding=0), learn=ALL)
    assert not caplog.text


@pytest.mark.parametrize(("accumulate", "workers"), [(4, 1), (1, 4), (2, 2)])
def test_looks_are_not_learned_from_pieces_of_one_image(accumulate: int, workers: int) -> None:
    task = DetectorTask(TWO, TWO, NETWORK, learn=LOOKS)
    settings = TrainingSettings(batch_size=4, accumulate=accumulate)
    with pytest.raises(InvalidInputError, match="two or more images in each piece of a batch.*got 1") as caught:
        fit(task, settings, workers=Workers(Share(0, workers)))
    assert "batch_size" in str(caught.value.hint)


def test_a_training_refuses_such_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = DetectorTask(TWO, TWO, NETWORK, learn=LOOKS)
    family = replace(FAMILY, task=lambda folder, settings: task)
    job = Job(family, PreparedData(tmp_path, "detector", "1", {}, {}), tmp_path, TrainingSettings(batch_size=1), {})
    with pytest.raises(InvalidInputError, match="two or more images in each piece"):
        train_family(job)


def test_the_estimate_of_a_search_refuses_such_pieces_too() -> None:
    task = family_tuning._Timed(DetectorTask(TWO, TWO, NETWORK, learn=LOOKS))
    with pytest.raises(InvalidInputError, match="two or more images in each piece"):
        fit(task, TrainingSettings(batch_size=4, accumulate=4))


def test_pieces_of_two_images_and_boxes_from_one_are_learned() -> None:
    DetectorTask(TWO, TWO, NETWORK, learn=LOOKS).require_piece(2)
    DetectorTask(TWO, TWO, NETWORK).require_piece(1)
