"""Observations come back from their tables as they were."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import numpy as np
import psycopg
import pytest

from pathcast.core import Detections, FrameTracks, Observation
from pathcast.core.classifications import Classifications
from pathcast.storage.observations import read_observations
from pathcast.storage.writers import write_observations

pytestmark = pytest.mark.integration


def plain(said: Classifications) -> tuple[object, ...]:
    rows = (said.detection_indices.tolist(), said.class_ids.tolist(), said.probabilities.tolist())
    return said.model, said.model_version, *rows


def test_round_trip(connection: psycopg.Connection, camera_id: str, observe: Callable[..., Observation]):
    empty = replace(
        observe(7, objects=0), detections=Detections.empty(), tracks=FrameTracks([], [], [], [], []), forecasts=()
    )
    written = [*(observe(sequence) for sequence in range(7)), empty]
    said = (Classifications("makes", "2", [1], [7], [1 / 3]), Classifications("signs", "4", [0], [14], [1.0]))
    written[3] = replace(written[3], classifications=said)
    write_observations(connection, written)
    last = written[-1].captured_at + timedelta(seconds=1)
    # A forecast belongs to the first frame at or after its step, so the first one's frame is before the span.
    since = min(forecast.made_at for each in written for forecast in each.forecasts)
    again = read_observations(connection, camera_id, since, last)
    assert [each.sequence for each in again] == list(range(8))
    for wanted, got in zip(written, again, strict=True):
        assert got.captured_at == wanted.captured_at
        assert (got.detector, got.detector_version) == (wanted.detector, wanted.detector_version)
        np.testing.assert_array_equal(got.detections.xyxy, wanted.detections.xyxy)
        np.testing.assert_array_equal(got.detections.class_ids, wanted.detections.class_ids)
        np.testing.assert_array_equal(got.tracks.track_ids, wanted.tracks.track_ids)
        np.testing.assert_array_equal(got.tracks.xyxy, wanted.tracks.xyxy)
        np.testing.assert_array_equal(got.tracks.detection_indices, wanted.tracks.detection_indices)
        np.testing.assert_array_equal(got.positions, wanted.positions)
        assert [plain(each) for each in got.classifications] == [plain(each) for each in wanted.classifications]
    made = {(f.made_at_step, f.track_id) for each in written for f in each.forecasts}
    assert {(f.made_at_step, f.track_id) for each in again for f in each.forecasts} == made
    for previous, each in zip(again, again[1:], strict=False):
        assert all(previous.captured_at < f.made_at <= each.captured_at for f in each.forecasts)


def test_nothing_there(connection: psycopg.Connection, camera_id: str, observe: Callable[..., Observation]):
    moment = observe(0).captured_at
    assert read_observations(connection, camera_id, moment, moment + timedelta(days=1)) == []
