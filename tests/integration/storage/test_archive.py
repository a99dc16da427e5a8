from __future__ import annotations

import io
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from minio import Minio

from pathcast.core import Frame, InvalidInputError, PathcastError, ServiceUnavailableError
from pathcast.storage import archive as archive_module
from pathcast.storage.archive import FrameArchive
from pathcast.storage.housekeeping import HousekeepingSettings, housekeeping
from pathcast.storage.reads import read_frame_rows
from pathcast.storage.writers import write_frames

pytestmark = pytest.mark.integration

BEFORE_MIDNIGHT = datetime(2026, 3, 1, 23, 59, 59, 500_000, tzinfo=UTC)
LATER = timedelta(days=1)


def frames_of(camera_id: str, first: int = 0, count: int = 12) -> list[Frame]:
    return [
        Frame(
            camera_id,
            sequence,
            BEFORE_MIDNIGHT + timedelta(milliseconds=143 * sequence),
            64,
            48,
            b"\xff\xd8" + bytes([sequence]) * (40 + sequence),
        )
        for sequence in range(first, first + count)
    ]


@pytest.fixture
def client(servers: Any) -> Minio:
    settings = servers.settings()
    return Minio(
        settings.s3_endpoint,
        access_key=settings.s3_access_key.get_secret_value(),
        secret_key=settings.s3_secret_key.get_secret_value(),
        secure=False,
    )


@pytest.fixture
def archive(servers: Any) -> FrameArchive:
    return FrameArchive.connect(servers.settings())


@pytest.fixture
def connection(postgres: Any) -> Iterator[psycopg.Connection]:
    with postgres.connect() as connection:
        yield connection


def keys(client: Minio, camera_id: str) -> list[str]:
    return sorted(found.object_name for found in client.list_objects("frames", f"{camera_id}/", recursive=True))


def test_frames_come_back_one_by_one(archive: FrameArchive, connection: psycopg.Connection, camera_id: str) -> None:
    frames = frames_of(camera_id)
    write_frames(connection, archive.put(frames))
    rows = read_frame_rows(connection, camera_id, BEFORE_MIDNIGHT, BEFORE_MIDNIGHT + LATER)
    assert [archive.read(row) for row in rows] == frames
    assert rows[0].pack_key.startswith(f"{camera_id}/2026/03/01/235959-0-")


def test_retry_writes_the_same_object(archive: FrameArchive, client: Minio, camera_id: str) -> None:
    assert archive.put(frames_of(camera_id)) == archive.put(frames_of(camera_id))
    assert len(keys(client, camera_id)) == 1


def test_kill_between_object_and_row(
    archive: FrameArchive, client: Minio, connection: psycopg.Connection, camera_id: str
) -> None:
    """The first process dies before the rows; its successor has more frames at hand by then."""
    archive.put(frames_of(camera_id, count=5))
    rows = archive.put(frames_of(camera_id, count=12))
    write_frames(connection, rows)
    assert len(keys(client, camera_id)) == 2
    now = datetime.now(tz=UTC)
    young = archive.sweep_orphans(connection, older_than=now - timedelta(hours=1))
    assert [key for key in young if key.startswith(f"{camera_id}/")] == []
    swept = archive.sweep_orphans(connection, older_than=now + timedelta(hours=1))
    assert [key for key in swept if key.startswith(f"{camera_id}/")] == [
        key for key in swept if key.startswith(f"{camera_id}/2026/03/01/235959-0-")
    ]
    assert keys(client, camera_id) == [rows[0].pack_key]
    assert [archive.read(row) for row in rows] == frames_of(camera_id)


@pytest.mark.parametrize("comes_back_with", ["the pack", "the rows"])
def test_a_pack_whose_archiver_comes_back_during_the_sweep_stays(
    archive: FrameArchive,
    client: Minio,
    connection: psycopg.Connection,
    camera_id: str,
    monkeypatch: pytest.MonkeyPatch,
    comes_back_with: str,
) -> None:
    frames = frames_of(camera_id)
    rows = archive.put(frames)
    # The store may know no less than a second.
    time.sleep(1.1)
    cutoff = datetime.now(tz=UTC).replace(microsecond=0)
    looks = archive_module._keys_in_use

    def looks_too_soon(connection: psycopg.Connection, camera: str, day: datetime) -> set[str]:
        found = looks(connection, camera, day)
        if camera == camera_id and comes_back_with == "the pack":
            archive.put(frames)
        elif camera == camera_id:
            write_frames(connection, rows)
        return found

    monkeypatch.setattr(archive_module, "_keys_in_use", looks_too_soon)
    swept = archive.sweep_orphans(connection, older_than=cutoff)
    assert [key for key in swept if key.startswith(f"{camera_id}/")] == []
    assert keys(client, camera_id) == [rows[0].pack_key]


def test_pack_used_only_after_midnight_stays(
    archive: FrameArchive, client: Minio, connection: psycopg.Connection, camera_id: str
) -> None:
    rows = archive.put(frames_of(camera_id))
    write_frames(connection, [row for row in rows if row.captured_at.day == 2])
    archive.sweep_orphans(connection, older_than=datetime.now(tz=UTC) + timedelta(hours=1))
    assert keys(client, camera_id) == [rows[0].pack_key]


def test_sweep_leaves_what_is_no_pack(
    archive: FrameArchive, client: Minio, connection: psycopg.Connection, camera_id: str
) -> None:
    names = [f"{camera_id}/notes.txt", f"{camera_id}/2026/13/01/000000-0-a.pack"]
    for name in names:
        client.put_object("frames", name, io.BytesIO(b"x"), 1)
    archive.sweep_orphans(connection, older_than=datetime.now(tz=UTC) + timedelta(hours=1))
    assert keys(client, camera_id) == sorted(names)


def test_settled_days_are_not_listed(
    archive: FrameArchive, client: Minio, connection: psycopg.Connection, camera_id: str
) -> None:
    """Orphans go where they can be: before the first row, on its day, and among the new days."""
    rows, orphans = {}, {}
    for day in (-3, 0, 4, 9):
        moved = [replace(frame, captured_at=frame.captured_at + timedelta(days=day)) for frame in frames_of(camera_id)]
        orphans[day] = archive.put(moved[:5])[0].pack_key
        if day >= 0:
            rows[day] = archive.put(moved)
            write_frames(connection, rows[day])
    later = datetime.now(tz=UTC) + timedelta(hours=1)
    swept = archive.sweep_orphans(connection, older_than=later, new_since=BEFORE_MIDNIGHT + timedelta(days=8))
    assert [key for key in swept if key.startswith(camera_id)] == [orphans[-3], orphans[0], orphans[9]]
    assert keys(client, camera_id) == sorted([orphans[4], *(found[0].pack_key for found in rows.values())])
    assert orphans[4] in archive.sweep_orphans(connection, older_than=later)


def test_housekeeping_drops_rows_and_then_their_packs(
    archive: FrameArchive, client: Minio, connection: psycopg.Connection, camera_id: str
) -> None:
    old = [replace(frame, captured_at=frame.captured_at.replace(year=2002)) for frame in frames_of(camera_id)]
    new = [replace(frame, captured_at=frame.captured_at.replace(year=2003)) for frame in frames_of(camera_id)]
    stored = [archive.put(frames) for frames in (old, new)]
    for each in stored:
        write_frames(connection, each)
    settings = HousekeepingSettings(orphan_age=timedelta(hours=-1))
    # 30 days after the second year's frames nothing of them has expired; the objects were written just now.
    first = housekeeping(connection, archive, new[0].captured_at + timedelta(days=30), settings)
    assert {"frames_20020301", "frames_20020302"} <= set(first.dropped)
    assert first.swept == ()
    assert len(keys(client, camera_id)) == 2
    second = housekeeping(connection, archive, datetime.now(tz=UTC), settings)
    assert {stored[0][0].pack_key, stored[1][0].pack_key} <= set(second.swept)
    assert "frames_20030301" in second.dropped
    assert keys(client, camera_id) == []


def test_damaged_and_missing_packs_are_told(archive: FrameArchive, client: Minio, camera_id: str) -> None:
    row = archive.put(frames_of(camera_id))[3]
    with pytest.raises(InvalidInputError, match="frame 3"):
        archive.read(replace(row, pack_offset=row.pack_offset + 1))
    with pytest.raises(InvalidInputError, match="frame 3"):
        archive.read(replace(row, byte_length=10**6))
    client.remove_object("frames", row.pack_key)
    with pytest.raises(PathcastError, match="NoSuchKey"):
        archive.read(row)


def test_dead_store_is_unavailable(servers: Any, archive: FrameArchive, camera_id: str) -> None:
    (row, *_) = archive.put(frames_of(camera_id))
    servers.kill("object_store")
    try:
        with pytest.raises(ServiceUnavailableError, match="write pack"):
            archive.put(frames_of(camera_id))
        with pytest.raises(ServiceUnavailableError, match="read frame"):
            archive.read(row)
    finally:
        servers.start("object_store")
    assert FrameArchive.connect(servers.settings()).read(row) == frames_of(camera_id)[0]
