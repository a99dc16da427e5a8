import numpy as np
import pytest

from pathcast.core.camera import Camera, camera_from_mapping
from pathcast.core.classifications import Classifications
from pathcast.core.errors import InvalidInputError


@pytest.mark.parametrize(
    ("rows", "classes", "probabilities", "expectation"),
    [
        ([1, 1], [0, 0], [0.5, 0.5], "ascending"),
        ([2, 1], [0, 0], [0.5, 0.5], "ascending"),
        ([-1], [0], [0.5], "ascending"),
        ([0], [-1], [0.5], "classes of 0 or more"),
        ([0], [1], [1.5], "probabilities"),
        ([0], [1], [np.nan], "probabilities"),
        ([0, 1], [1], [0.5], "class_ids: expected shape"),
    ],
)
def test_rows_that_cannot_be_are_told(
    rows: list[int], classes: list[int], probabilities: list[float], expectation: str
) -> None:
    with pytest.raises(InvalidInputError, match=expectation):
        Classifications("signs", "1", rows, classes, probabilities)


def test_a_camera_says_which_classifiers_it_wants() -> None:
    fields = {"camera_id": "road", "classify": {"car": "makes", "*": "signs"}}
    camera = camera_from_mapping(fields)
    assert camera.classify == {"car": "makes", "*": "signs"}
    assert camera.as_mapping() == fields
    assert "classify" not in Camera("road").as_mapping()
    none = camera_from_mapping({"camera_id": "road", "classify": {}})
    assert (none.classify, camera_from_mapping(none.as_mapping())) == ({}, none)


@pytest.mark.parametrize("classify", [{"car": ""}, {"": "signs"}, {"car": 3}, ["signs"], "signs"])
def test_other_wishes_are_told(classify: object) -> None:
    with pytest.raises(InvalidInputError, match="camera"):
        camera_from_mapping({"camera_id": "road", "classify": classify})
