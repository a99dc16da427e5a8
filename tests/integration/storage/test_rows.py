from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import numpy as np
import psycopg
import pytest
from pydantic import SecretStr

from pathcast.core import InvalidInputError, Observation, PathcastError, ServiceUnavailableError
from pathcast.core.ground_plane import ground_plane_from_mapping
from pathcast.storage.cameras import read_camera, read_camera_ids, upsert_camera
from pathcast.storage.connection import connect
from pathcast.storage.frame_rows import FrameRow
from pathcast.storage.model_versions import (
    StoredModelVersion,
    TrainingTracks,
    read_model_version,
    write_model_version,
)
from pathcast.storage.positions import (
    Checkpoint,
    StreamPosition,
    read_checkpoint,
    read_position,
    start_anew,
    write_checkpoint,
    write_offset,
)
from pathcast.storage.reads import (
    read_counts,
    read_detections,
    read_forecasts,
    read_frame_rows,
    read_scores,
    read_sequence_gaps,
    read_tracks,
    read_trajectories,
)
from pathcast.storage.writers import WriteCount, write_frames, write_observations

pytestmark = pytest.mark.integration

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
EVER = (datetime(1990, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))
Observe = Callable[..., Observation]


def frame_row(camera_id: str, sequence: int) -> FrameRow:
    captured_at = START + timedelta(milliseconds=143 * sequence)
    key = f"{camera_id}/2026/03/01/120000-0-abc.pack"
    return FrameRow(
        camera_id, captured_at, sequence, 768, 576, key, 1_000 * sequence, 900, bytes([sequence % 256]) * 32
    )


def plain(value: Any) -> Any:
    """A value that compares by content."""
    names = [field.name for field in fields(value)]
    return {name: each.tolist() if isinstance(each := getattr(value, name), np.ndarray) else each for name in names}


def dump(connection: psycopg.Connection, camera_id: str) -> dict[str, list[Any]]:
    tables = ("frames", "observations", "detections", "tracks", "forecasts", "forecast_scores")
    return {
        table: connection.execute(
            f"SELECT * FROM {table} WHERE camera_id = %s ORDER BY 1, 2, 3, 4, 5",  # noqa: S608
            (camera_id,),
        ).fetchall()
        for table in tables
    }


def test_everything_comes_back_as_it_was(connection: psycopg.Connection, camera_id: str, observe: Observe) -> None:
    given = [observe(sequence, objects=sequence % 4) for sequence in range(20)]
    counts = write_observations(connection, given)
    assert counts["observations"] == WriteCount(20, 0)
    detections = read_detections(connection, camera_id, *EVER)
    assert [(moment, plain(found)) for moment, found in detections.items()] == [
        (each.captured_at, plain(each.detections)) for each in given
    ]
    forecasts = [plain(forecast) for each in given for forecast in each.forecasts]
    assert [plain(forecast) for forecast in read_forecasts(connection, camera_id, *EVER)] == forecasts
    assert read_scores(connection, camera_id, *EVER) == [score for each in given for score in each.scores]
    tracks = read_tracks(connection, camera_id, *EVER)
    assert [track.track_id for track in tracks] == [0, 1, 2]
    for track in tracks:
        rows = [each for each in given if track.track_id in each.tracks.track_ids]
        assert track.captured_at == tuple(each.captured_at for each in rows)
        assert track.xyxy.tolist() == [each.tracks.xyxy[track.track_id].tolist() for each in rows]
        assert track.positions.tolist() == [each.positions[track.track_id].tolist() for each in rows]
        assert (track.units, track.class_id) == ("m", track.track_id % 2)
    without = connection.execute(
        "SELECT DISTINCT track_id FROM tracks WHERE camera_id = %s AND detection_index IS NULL", (camera_id,)
    )
    assert without.fetchall() == [(2,)]


def test_nothing_is_read_where_nothing_is(connection: psycopg.Connection, camera_id: str) -> None:
    for read in (read_tracks, read_trajectories, read_forecasts, read_scores, read_frame_rows):
        assert read(connection, camera_id, *EVER) == []  # type: ignore[operator]
    assert read_detections(connection, camera_id, *EVER) == {}
    assert set(read_counts(connection, camera_id).values()) == {0}


def test_empty_batch_moves_the_offset(connection: psycopg.Connection, camera_id: str) -> None:
    counts = write_observations(connection, [], StreamPosition(camera_id, "observations", 0, 5))
    assert set(counts.values()) == {WriteCount(0, 0)}
    assert write_frames(connection, [], StreamPosition(camera_id, "frames", 0, 6)) == WriteCount(0, 0)
    assert read_position(connection, camera_id, "observations", 0) == StreamPosition(camera_id, "observations", 0, 5)
    assert read_position(connection, camera_id, "frames", 0) == StreamPosition(camera_id, "frames", 0, 6)


def test_replay_changes_nothing(connection: psycopg.Connection, camera_id: str, observe: Observe) -> None:
    observations = [observe(sequence) for sequence in range(12)]
    rows = [frame_row(camera_id, sequence) for sequence in range(12)]
    write_observations(connection, observations, StreamPosition(camera_id, "observations", 0, 12))
    assert write_frames(connection, rows, StreamPosition(camera_id, "frames", 0, 12)) == WriteCount(12, 0)
    before = dump(connection, camera_id)
    # A shifted replay: known rows, new ones, and one row twice in the batch.
    for first in (0, 4, 11):
        again = observations[first:] + observations[-1:]
        counts = write_observations(connection, again, StreamPosition(camera_id, "observations", 0, 12 - first))
        assert all(each.inserted == 0 for each in counts.values())
        assert counts["observations"].duplicate == len(again)
        duplicate = write_frames(connection, rows[first:], StreamPosition(camera_id, "frames", 0, first))
        assert duplicate == WriteCount(0, 12 - first)
    assert dump(connection, camera_id) == before
    assert read_position(connection, camera_id, "observations", 0) == StreamPosition(camera_id, "observations", 0, 12)
    assert read_position(connection, camera_id, "frames", 0) == StreamPosition(camera_id, "frames", 0, 12)
    assert read_frame_rows(connection, camera_id, *EVER) == rows


def test_a_frame_has_one_result(connection: psycopg.Connection, camera_id: str, observe: Observe) -> None:
    """Analysed again with another result, as by a model promoted between a kill and the restart."""
    first = [observe(sequence, objects=1) for sequence in range(3)]
    other = [replace(observe(sequence, objects=3), detector_version="2") for sequence in range(4)]
    write_observations(connection, [*first, other[2]])
    before = dump(connection, camera_id)
    counts = write_observations(connection, other[:3])
    assert dump(connection, camera_id) == before
    assert counts["detections"] == WriteCount(0, 9)
    write_observations(connection, other)
    assert [len(found) for found in read_detections(connection, camera_id, *EVER).values()] == [1, 1, 1, 3]


def test_days_arrive_in_any_order(connection: psycopg.Connection, camera_id: str, observe: Observe) -> None:
    days = [START + timedelta(days=offset) for offset in (0, -40, 400, -39, 1)]
    given = [observe(0, start=day) for day in days]
    for each in given:
        write_observations(connection, [each])
    write_observations(connection, given)
    assert list(read_detections(connection, camera_id, *EVER)) == sorted(days)
    assert read_counts(connection, camera_id)["forecasts"] == sum(len(each.forecasts) for each in given)
    # The scores of a day's first frame are of forecasts made 4.8 s before it.
    noon = START + timedelta(hours=12)
    assert len(read_scores(connection, camera_id, START, noon)) == 0
    assert len(read_scores(connection, camera_id, START - timedelta(seconds=5), noon)) == 3


def test_failure_leaves_neither_rows_nor_offset(
    connection: psycopg.Connection, camera_id: str, observe: Observe
) -> None:
    broken = replace(observe(1), detector="no\0text")
    with pytest.raises(PathcastError, match="write 2 observations"):
        write_observations(connection, [observe(0), broken], StreamPosition(camera_id, "observations", 0, 2))
    assert read_position(connection, camera_id, "observations", 0) is None
    assert set(read_counts(connection, camera_id).values()) == {0}
    write_observations(connection, [observe(0)], StreamPosition(camera_id, "observations", 0, 1))
    assert read_counts(connection, camera_id)["observations"] == 1


@pytest.mark.parametrize("with_position", [True, False])
def test_concurrent_writers_of_the_same_keys(
    postgres: Any, camera_id: str, observe: Observe, with_position: bool
) -> None:
    """Four processes that all believe they own the partition, each in another order of batches and rows."""
    observations = [observe(sequence) for sequence in range(60)]

    def write(writer: int) -> int:
        order = np.random.default_rng(writer).permutation(60)
        inserted = 0
        with postgres.connect() as connection:
            for batch in np.array_split(order, 6):
                position = StreamPosition(camera_id, "observations", 0, int(batch.max()) + 1)
                chosen = [observations[index] for index in batch]
                counts = write_observations(connection, chosen, position if with_position else None)
                inserted += counts["tracks"].inserted
        return inserted

    with ThreadPoolExecutor(4) as pool:
        inserted = list(pool.map(write, range(4)))
    assert sum(inserted) == 60 * 3
    with postgres.connect() as connection:
        assert read_counts(connection, camera_id)["tracks"] == 60 * 3
        end = StreamPosition(camera_id, "observations", 0, 60)
        assert read_position(connection, camera_id, "observations", 0) == (end if with_position else None)


def test_trajectories_are_on_the_grid(connection: psycopg.Connection, camera_id: str, observe: Observe) -> None:
    write_observations(connection, [observe(sequence, objects=1) for sequence in range(30)])
    (found,) = read_trajectories(connection, camera_id, *EVER)
    # 29 frame intervals of 143 ms hold the 11 grid steps 0 to 4 s; the walker moves (0.1, -0.2) a frame.
    expected = np.outer(np.arange(11) * 0.4 / 0.143, [0.1, -0.2])
    np.testing.assert_allclose(found.positions, expected, atol=1e-9)
    assert read_trajectories(connection, camera_id, *EVER, min_steps=12) == []


def test_gaps_are_found(connection: psycopg.Connection, camera_id: str, observe: Observe) -> None:
    assert read_sequence_gaps(connection, "observations", camera_id) == []
    write_observations(connection, [observe(sequence, objects=0) for sequence in (3, 4, 6, 10)])
    assert read_sequence_gaps(connection, "observations", camera_id) == [(5, 5), (7, 9)]


def test_forecasts_by_model(connection: psycopg.Connection, camera_id: str, observe: Observe) -> None:
    write_observations(connection, [observe(0, version="1"), observe(3, version="2")])
    assert len(read_forecasts(connection, camera_id, *EVER)) == 6
    for read in (read_forecasts, read_scores):
        found = read(connection, camera_id, *EVER, model="forecaster", model_version="2")
        assert [each.model_version for each in found] == ["2"] * 3
        assert read(connection, camera_id, *EVER, model="other") == []


def test_aggregates_by_minute(database: Any, connection: psycopg.Connection, camera_id: str, observe: Observe) -> None:
    """The same numbers before and after the aggregates are materialised, on both databases."""
    given = [observe(sequence) for sequence in range(0, 900, 3)]
    write_observations(connection, given)
    scores = [score for each in given for score in each.scores]

    def check() -> None:
        (objects,) = connection.execute(
            "SELECT sum(track_rows) FROM object_counts_minute WHERE camera_id = %s AND class_id = 0", (camera_id,)
        ).fetchone()
        assert objects == 2 * len(given)
        minutes = connection.execute(
            "SELECT minute, tracks FROM object_counts_minute WHERE camera_id = %s AND class_id = 0 ORDER BY 1",
            (camera_id,),
        ).fetchall()
        assert minutes == [(START + timedelta(minutes=minute), 2) for minute in range(3)]
        speeds = connection.execute(
            "SELECT DISTINCT round(mean_speed_per_s::numeric, 4) FROM object_speeds_minute WHERE camera_id = %s",
            (camera_id,),
        )
        assert [float(speed) for (speed,) in speeds] == [1.25]
        (scored, ended, ade, baseline) = connection.execute(
            "SELECT sum(scored), sum(track_ended), sum(mean_ade * scored) / sum(scored), "
            "sum(mean_constant_velocity_fde * scored) / sum(scored) FROM forecast_errors_minute WHERE camera_id = %s",
            (camera_id,),
        ).fetchone()
        assert (scored, ended) == (2 * len(given), len(given))
        assert ade == pytest.approx(np.mean([score.ade for score in scores if score.ade is not None]))
        errors = [score.constant_velocity_fde for score in scores if score.constant_velocity_fde is not None]
        assert baseline == pytest.approx(np.mean(errors))
        (detections, mean_score) = connection.execute(
            "SELECT sum(detections), sum(mean_score * detections) / sum(detections) FROM detection_counts_minute "
            "WHERE camera_id = %s",
            (camera_id,),
        ).fetchone()
        assert detections == 3 * len(given)
        assert mean_score == pytest.approx(np.mean([each.detections.scores for each in given]), rel=1e-5)

    check()
    if database.kind == "timescaledb":
        for name in ("detection_counts", "object_counts", "object_speeds", "forecast_errors"):
            connection.execute(f"CALL refresh_continuous_aggregate('{name}_minute', NULL, NULL)")
        check()


def test_lineage_of_a_forecast(connection: psycopg.Connection, camera_id: str, observe: Observe) -> None:
    """One query leads from a forecast to rows, detections, frames, model versions and training data."""
    observations = [observe(sequence) for sequence in range(60)]
    rows = [frame_row(camera_id, sequence) for sequence in range(60)]
    write_observations(connection, observations)
    write_frames(connection, rows)
    selection = TrainingTracks(camera_id, START - timedelta(days=2), START - timedelta(days=1), 321)
    card = {"sets": ["street"], "licence": "CC0"}
    write_model_version(connection, StoredModelVersion("forecaster", "1", "f" * 64, card, (selection,)))
    write_model_version(connection, StoredModelVersion("detector", "7", "d" * 64))
    forecast = next(
        forecast
        for each in observations
        for forecast in each.forecasts
        if forecast.track_id == 1 and forecast.made_at >= START + timedelta(seconds=4)
    )
    with connection.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        found = cursor.execute(
            "SELECT * FROM forecast_lineage WHERE camera_id = %s AND made_at = %s AND track_id = %s "
            "AND model = 'forecaster' AND model_version = '1' ORDER BY captured_at",
            (camera_id, forecast.made_at, forecast.track_id),
        ).fetchall()
    first = max(row.sequence for row in rows if row.captured_at <= forecast.made_at - timedelta(seconds=2.8))
    last = min(row.sequence for row in rows if row.captured_at >= forecast.made_at)
    assert [row["frame_sequence"] for row in found] == list(range(first, last + 1))
    for row in found:
        origin = observations[row["frame_sequence"]]
        assert row["captured_at"] == origin.captured_at
        assert (row["track_x"], row["track_y"]) == tuple(origin.positions[1])
        assert row["detection_x1"] == pytest.approx(origin.detections.xyxy[1, 0])
        assert (row["detector"], row["detector_version"], row["detector_sha256"]) == ("detector", "7", "d" * 64)
        assert (row["model_sha256"], row["training_data_card"]) == ("f" * 64, card)
        assert [(each["camera_id"], each["track_count"]) for each in row["training_tracks"]] == [(camera_id, 321)]
        assert row["pack_key"] == rows[0].pack_key
        assert row["pack_offset"] == 1_000 * origin.sequence


def test_lineage_of_an_orphan_is_one_row_of_nulls(
    connection: psycopg.Connection, camera_id: str, observe: Observe
) -> None:
    lonely = replace(observe(0, version="unknown"), tracks=observe(0, objects=0).tracks, positions=np.empty((0, 2)))
    write_observations(connection, [lonely])
    found = connection.execute(
        "SELECT track_id, captured_at, pack_key, model_sha256 FROM forecast_lineage WHERE camera_id = %s ORDER BY 1",
        (camera_id,),
    )
    assert found.fetchall() == [(track_id, None, None, None) for track_id in range(3)]


def test_model_versions_never_change(connection: psycopg.Connection, camera_id: str) -> None:
    selection = TrainingTracks(camera_id, *EVER, 3)
    version = StoredModelVersion(camera_id, "1", "a" * 64, {"by": "hand"}, (selection,))
    assert read_model_version(connection, camera_id, "1") is None
    for _ in range(2):
        write_model_version(connection, version)
    assert read_model_version(connection, camera_id, "1") == version
    with pytest.raises(InvalidInputError, match="sha256"):
        write_model_version(connection, replace(version, sha256="b" * 64))


def test_cameras_keep_their_calibration(connection: psycopg.Connection, camera_id: str) -> None:
    calibration = {
        "kind": "point_pairs",
        "points_px": [[0, 0], [100, 0], [100, 100], [0, 100]],
        "points_m": [[0, 0], [10, 0], [10, 10], [0, 10]],
    }
    assert read_camera(connection, camera_id) is None
    upsert_camera(connection, camera_id)
    camera = read_camera(connection, camera_id)
    assert camera is not None
    assert camera.units == "frame_heights"
    assert camera.classify == {}
    upsert_camera(connection, camera_id, classify={"*": "signs"})
    upsert_camera(connection, camera_id, ground_plane_from_mapping(calibration).as_mapping())
    upsert_camera(connection, camera_id)
    camera = read_camera(connection, camera_id)
    assert camera is not None
    assert camera.units == "m"
    assert camera.classify == {"*": "signs"}
    np.testing.assert_allclose(camera.positions([[40, 0, 60, 50]], 100), [[5, 5]], atol=1e-6)
    assert camera_id in read_camera_ids(connection)
    upsert_camera(connection, camera_id, classify={})
    camera = read_camera(connection, camera_id)
    assert camera is not None
    assert camera.classify == {}
    with pytest.raises(InvalidInputError):
        upsert_camera(connection, camera_id, {"kind": "guess"})


def test_checkpoints_never_go_back(connection: psycopg.Connection, camera_id: str) -> None:
    assert read_checkpoint(connection, camera_id, "frames", 0) is None
    steps = [(5, b"five", True), (9, b"\0nine", True), (7, b"seven", False), (9, b"again", True)]
    for offset, state, expected in steps:
        assert write_checkpoint(connection, StreamPosition(camera_id, "frames", 0, offset), state) is expected
    assert read_checkpoint(connection, camera_id, "frames", 0) == Checkpoint(
        StreamPosition(camera_id, "frames", 0, 9), b"again"
    )
    assert read_checkpoint(connection, camera_id, "frames", 1) is None


def test_a_position_counts_in_one_topic(connection: psycopg.Connection, camera_id: str) -> None:
    old, new = UUID(int=1), UUID(int=2)
    # What is written, and where the stored position is then: the id once known stays, and the new topic's offsets,
    # or those of a process that still reads the old one, count only once the position was started anew.
    steps = [(5, None, (5, None)), (7, old, (7, old)), (8, None, (8, old)), (9, new, (8, old)), (9, old, (9, old))]
    for offset, topic_id, expected in steps:
        position = StreamPosition(camera_id, "frames", 0, offset, topic_id)
        write_offset(connection, position)
        assert write_checkpoint(connection, position, b"%d" % offset) is (expected[0] == offset)
        stored = StreamPosition(camera_id, "frames", 0, *expected)
        assert read_position(connection, camera_id, "frames", 0) == stored
        assert read_checkpoint(connection, camera_id, "frames", 0) == Checkpoint(stored, b"%d" % expected[0])
    start_anew(connection, StreamPosition(camera_id, "frames", 0, 0, new))
    late, first = (StreamPosition(camera_id, "frames", 0, *where) for where in ((10, old), (1, new)))
    for position, kept in ((late, False), (first, True)):
        write_offset(connection, position)
        assert write_checkpoint(connection, position, b"anew") is kept
    assert read_position(connection, camera_id, "frames", 0) == first
    assert read_checkpoint(connection, camera_id, "frames", 0) == Checkpoint(first, b"anew")


def test_no_server_is_unavailable() -> None:
    with pytest.raises(ServiceUnavailableError, match="connect to the database"):
        connect(SecretStr("postgresql://pathcast:hidden@127.0.0.1:9/pathcast"), application_name="tests")


def test_lost_connection_is_unavailable(postgres: Any, camera_id: str, observe: Observe) -> None:
    with postgres.connect() as connection, postgres.connect() as other:
        other.execute("SELECT pg_terminate_backend(%s)", (connection.info.backend_pid,))
        with pytest.raises(ServiceUnavailableError):
            write_observations(connection, [observe(0)])
        assert set(read_counts(other, camera_id).values()) == {0}
