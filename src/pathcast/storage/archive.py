"""The frame archive in the object store: packs in, single frames out.

The object is written first, then the rows that point into it. A failure between the two leaves an
object that no row names; `sweep_orphans` removes it, and likewise the objects of rows that retention
dropped.
"""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Self

import psycopg
import urllib3
from minio import Minio
from minio.error import InvalidResponseError, S3Error, ServerError
from urllib3.exceptions import HTTPError

from pathcast.core.errors import PathcastError, ServiceUnavailableError
from pathcast.core.frame import Frame
from pathcast.core.settings import PlatformSettings
from pathcast.storage.connection import database_errors
from pathcast.storage.frame_rows import FrameRow
from pathcast.storage.packs import build_pack, checked_frame

_RETRYABLE_CODES = {"InternalError", "ServiceUnavailable", "SlowDown", "RequestTimeout"}


class FrameArchive:
    """The packs in one bucket. Methods raise ServiceUnavailableError when the store does not answer."""

    def __init__(self, client: Minio, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    @classmethod
    def connect(cls, platform: PlatformSettings) -> Self:
        """The archive of `platform`; nothing is sent yet."""
        client = Minio(
            platform.s3_endpoint,
            access_key=platform.s3_access_key.get_secret_value(),
            secret_key=platform.s3_secret_key.get_secret_value(),
            secure=platform.s3_secure,
            # The client's own are five minutes and five repetitions; the services repeat by themselves.
            http_client=urllib3.PoolManager(
                timeout=urllib3.Timeout(connect=5, read=30),
                retries=urllib3.Retry(total=2, backoff_factor=0.2, status_forcelist=[500, 502, 503, 504]),
                cert_reqs="CERT_REQUIRED",
            ),
        )
        return cls(client, platform.frames_bucket)

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

    def sweep_orphans(self, connection: psycopg.Connection, *, older_than: datetime) -> list[str]:
        """Delete the packs last written before `older_than` that no row names; return their keys.

        `older_than` must leave the archiver time to write the rows of a new object: an hour is plenty.
        """
        by_day: defaultdict[tuple[str, datetime], set[str]] = defaultdict(set)
        with object_store_errors(f"list the packs in {self._bucket}"):
            for found in self._client.list_objects(self._bucket, recursive=True):
                origin = _camera_and_day(found.object_name)
                if origin is not None and found.last_modified < older_than:
                    by_day[origin].add(found.object_name)
        orphans: list[str] = []
        for (camera_id, day), keys in sorted(by_day.items()):
            orphans.extend(sorted(keys - _keys_in_use(connection, camera_id, day)))
        for key in orphans:
            with object_store_errors(f"delete pack {self._bucket}/{key}"):
                self._client.remove_object(self._bucket, key)
        return orphans


@contextmanager
def object_store_errors(doing: str) -> Iterator[None]:
    """Turn the client's errors into Pathcast's; `doing` completes "could not …"."""
    try:
        yield
    except S3Error as error:
        kind = ServiceUnavailableError if error.code in _RETRYABLE_CODES else PathcastError
        raise kind(f"could not {doing}: {error.code}: {error.message}") from error
    except (HTTPError, InvalidResponseError, ServerError, OSError) as error:
        raise ServiceUnavailableError(
            f"could not {doing}: {error}", hint="see whether the object store runs: pathcast status"
        ) from error


def _keys_in_use(connection: psycopg.Connection, camera_id: str, day: datetime) -> set[str]:
    """Of the packs that begin on `day`; their rows may lie behind midnight."""
    with database_errors("find the packs in use"):
        rows = connection.execute(
            "SELECT DISTINCT pack_key FROM frames WHERE camera_id = %s AND captured_at >= %s AND captured_at < %s",
            (camera_id, day, day + timedelta(days=2)),
        )
        return {key for (key,) in rows}


def _camera_and_day(key: str) -> tuple[str, datetime] | None:
    """What a pack's key says; None for objects that are no packs."""
    camera_id, _, rest = key.partition("/")
    date, _, name = rest.rpartition("/")
    if not name.endswith(".pack"):
        return None
    try:
        return camera_id, datetime.strptime(date, "%Y/%m/%d").replace(tzinfo=UTC)
    except ValueError:
        return None
