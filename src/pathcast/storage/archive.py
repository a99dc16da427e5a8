"""The frame archive in the object store: packs in, single frames out.

The object is written first, then the rows that point into it. A failure between the two leaves an
object that no row names; `sweep_orphans` removes it, and likewise the objects of rows that retention
dropped.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Self

import psycopg
import urllib3
from minio import Minio

from pathcast.core.frame import Frame
from pathcast.core.settings import PlatformSettings
from pathcast.storage.connection import database_errors
from pathcast.storage.frame_rows import FrameRow
from pathcast.storage.object_store import object_store, object_store_errors
from pathcast.storage.packs import build_pack, checked_frame


class FrameArchive:
    """The packs in one bucket. Methods raise ServiceUnavailableError when the store does not answer."""

    def __init__(self, client: Minio, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    @classmethod
    def connect(cls, platform: PlatformSettings) -> Self:
        """The archive of `platform`; nothing is sent yet. Raises PathcastError where its address or keys are wrong."""
        # The client's own are five minutes and five repetitions; the services repeat by themselves.
        http_client = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=5, read=30),
            retries=urllib3.Retry(total=2, backoff_factor=0.2, status_forcelist=[500, 502, 503, 504]),
            cert_reqs="CERT_REQUIRED",
        )
        return cls(object_store(platform, http_client), platform.frames_bucket)

    def put(self, frames: Sequence[Frame]) -> tuple[FrameRow, ...]:
        """Write one camera's `frames` as a pack and return the rows to store next.

        The same frames again write the same object again.
        """
        pack = build_pack(frames)
        with object_store_errors(f"write pack {self._bucket}/{pack.key}"):
            self._client.put_object(self._bucket, pack.key, io.BytesIO(pack.data), len(pack.data))
        return pack.rows

    def read(self, row: FrameRow) -> Frame:
        """Fetch one archived frame by its byte range.

        Raises InvalidInputError when the bytes are not those archived, PathcastError when the pack is gone.
        """
        doing = f"read frame {row.sequence} of {row.camera_id} from {self._bucket}/{row.pack_key}"
        with object_store_errors(doing):
            response = self._client.get_object(
                self._bucket, row.pack_key, offset=row.pack_offset, length=row.byte_length
            )
            try:
                jpeg = response.read()
            finally:
                response.close()
                response.release_conn()
        return checked_frame(row, jpeg)

    def sweep_orphans(
        self, connection: psycopg.Connection, *, older_than: datetime, new_since: datetime | None = None
    ) -> list[str]:
        """Delete the packs last written before `older_than` that no row names; return their keys.

        `older_than` must leave the archiver time to write the rows of a new object: an hour is plenty. With
        `new_since`, the days between a camera's first row and that moment are not listed: a long archive has
        many objects, and these were swept when they were new.
        """
        orphans: list[tuple[str, str, datetime]] = []
        for camera in self._folders(""):
            camera_id = camera.rstrip("/")
            first = _first_row(connection, camera_id)
            for folder in self._days(camera):
                day = _day_of(folder.removeprefix(camera))
                if day is None or (new_since and first and first < day < new_since - timedelta(days=1)):
                    continue
                if keys := self._packs(folder, older_than):
                    unnamed = sorted(keys - _keys_in_use(connection, camera_id, day))
                    orphans.extend((key, camera_id, day) for key in unnamed)
        swept: list[str] = []
        for key, camera_id, day in orphans:
            # That took its time: an archiver may have written the pack once more, or rows that name it.
            if not self._packs(key, older_than) or _is_in_use(connection, camera_id, day, key):
                continue
            with object_store_errors(f"delete pack {self._bucket}/{key}"):
                self._client.remove_object(self._bucket, key)
            swept.append(key)
        return swept

    def _packs(self, prefix: str, older_than: datetime) -> set[str]:
        """The keys of the packs with that prefix that were last written before `older_than`."""
        with object_store_errors(f"list the packs in {self._bucket}/{prefix}"):
            return {
                found.object_name
                for found in self._client.list_objects(self._bucket, prefix=prefix)
                if found.object_name.endswith(".pack") and found.last_modified < older_than
            }

    def _days(self, camera: str) -> list[str]:
        """The folders camera/year/month/day/ below `camera`, in order."""
        years = self._folders(camera)
        months = [month for year in years for month in self._folders(year)]
        return [day for month in months for day in self._folders(month)]

    def _folders(self, prefix: str) -> list[str]:
        with object_store_errors(f"list the folders of {self._bucket}/{prefix}"):
            return sorted(
                found.object_name for found in self._client.list_objects(self._bucket, prefix=prefix) if found.is_dir
            )


def _keys_in_use(connection: psycopg.Connection, camera_id: str, day: datetime) -> set[str]:
    """Of the packs that begin on `day`; their rows may lie behind midnight."""
    with database_errors("find the packs in use"):
        rows = connection.execute(
            "SELECT DISTINCT pack_key FROM frames WHERE camera_id = %s AND captured_at >= %s AND captured_at < %s",
            (camera_id, day, day + timedelta(days=2)),
        )
        return {key for (key,) in rows}


def _is_in_use(connection: psycopg.Connection, camera_id: str, day: datetime, key: str) -> bool:
    """Whether rows name the pack, which begins on `day`."""
    with database_errors(f"find the rows of pack {key}"):
        row = connection.execute(
            "SELECT 1 FROM frames WHERE camera_id = %s AND captured_at >= %s AND captured_at < %s AND pack_key = %s "
            "LIMIT 1",
            (camera_id, day, day + timedelta(days=2), key),
        ).fetchone()
    return row is not None


def _first_row(connection: psycopg.Connection, camera_id: str) -> datetime | None:
    with database_errors("find the first frame"):
        row = connection.execute("SELECT min(captured_at) FROM frames WHERE camera_id = %s", (camera_id,)).fetchone()
    return None if row is None else row[0]


def _day_of(path: str) -> datetime | None:
    """The day that a folder's path below its camera says; None for folders that hold no packs."""
    try:
        return datetime.strptime(path, "%Y/%m/%d/").replace(tzinfo=UTC)
    except ValueError:
        return None
