import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pathcast.core.detections import Detections
from pathcast.detection.postprocess import suppress, to_detections
from pathcast.detection.preprocess import Letterbox

FIT = Letterbox.fit(832, 832, 416, 416)


def decode(rows: list[tuple[float, float, float, float, float, int]], **settings: float) -> Detections:
    table = np.array(rows, dtype=np.float64).reshape(-1, 6)
    return to_detections(
        table[:, :4].astype(np.float32), table[:, 4].astype(np.float32), table[:, 5].astype(np.int64), FIT, **settings
    )


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    sides = np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2])
    inside = float(sides.clip(0).prod())
    return inside / (float((first[2:] - first[:2]).prod()) + float((second[2:] - second[:2]).prod()) - inside)


def test_nothing_in_nothing_out() -> None:
    assert len(decode([])) == 0
    assert len(decode([(0, 0, 9, 9, 0.01, 0)], score_threshold=0.1)) == 0
    assert len(decode([(0, 0, 9, 9, 0.0, 0)], score_threshold=0.0)) == 1


def test_scales_back_sorts_and_keeps_classes() -> None:
    found = decode([(1, 2, 11, 22, 0.5, 3), (100, 100, 120, 140, 0.9, 0)])
    np.testing.assert_array_equal(found.xyxy, [[200, 200, 240, 280], [2, 4, 22, 44]])
    np.testing.assert_array_equal(found.class_ids, [0, 3])
    np.testing.assert_allclose(found.scores, [0.9, 0.5])


@pytest.mark.parametrize(("second_class", "kept"), [(0, 1), (2, 2)])
def test_only_overlaps_of_one_class_are_suppressed(second_class: int, kept: int) -> None:
    assert len(decode([(0, 0, 10, 10, 0.9, 0), (0, 0, 10, 9, 0.8, second_class)])) == kept


def test_a_suppressed_row_suppresses_nothing() -> None:
    chain = [(0, 0, 10, 10, 0.9, 0), (0, 3, 10, 13, 0.8, 0), (0, 6, 10, 16, 0.7, 0)]
    np.testing.assert_allclose(decode(chain, nms_iou=0.5).scores, [0.9, 0.7])


def test_clips_to_the_frame_and_drops_what_lies_in_the_padding() -> None:
    wide = Letterbox.fit(832, 416, 416, 416)
    boxes = np.array([[-5, -5, 10, 10], [0, 250, 20, 300], [400, 200, 430, 230]], np.float32)
    found = to_detections(boxes, np.array([0.9, 0.8, 0.7], np.float32), np.zeros(3, np.int64), wide)
    np.testing.assert_array_equal(found.xyxy, [[0, 0, 20, 20], [800, 400, 832, 416]])


BOXES = st.tuples(
    st.floats(0, 300, width=32), st.floats(0, 300, width=32), st.floats(1, 100, width=32), st.floats(1, 100, width=32)
)


@given(
    corners=st.lists(BOXES, min_size=1, max_size=20),
    classes=st.lists(st.integers(0, 5), min_size=20, max_size=20),
    marks=st.lists(st.sampled_from([0.0, 0.3, 0.6, 0.9]), min_size=20, max_size=20),
)
def test_suppression_leaves_no_overlap_and_drops_nothing_without_cause(
    corners: list[tuple[float, ...]], classes: list[int], marks: list[float]
) -> None:
    table = np.array(corners, np.float32)
    boxes = np.concatenate([table[:, :2], table[:, :2] + table[:, 2:]], axis=1)
    ids = np.array(classes[: len(boxes)])
    scores = np.array(marks[: len(boxes)], np.float32)
    kept = suppress(boxes, scores, ids, 0.5).tolist()
    best_first = sorted(range(len(boxes)), key=lambda row: -scores[row])
    assert kept[0] == best_first[0]
    assert kept == [row for row in best_first if row in kept]
    for place, row in enumerate(best_first):
        before = [other for other in best_first[:place] if other in kept and ids[other] == ids[row]]
        worst = max((overlap(boxes[row], boxes[other]) for other in before), default=0.0)
        if abs(worst - 0.5) > 1e-4:
            assert (row in kept) == (worst <= 0.5)


def test_embeddings_stay_with_their_boxes() -> None:
    rows = [(0, 0, 10, 10, 0.5, 0), (0, 0, 10, 9, 0.4, 0), (100, 100, 120, 140, 0.9, 0), (0, 0, 5, 5, 0.001, 0)]
    table = np.array(rows, np.float64)
    looks = np.arange(8, dtype=np.float32).reshape(4, 2)
    found = to_detections(
        table[:, :4].astype(np.float32), table[:, 4].astype(np.float32), table[:, 5].astype(np.int64), FIT, looks
    )
    assert found.embeddings is not None
    np.testing.assert_array_equal(found.embeddings, [[4, 5], [0, 1]])
