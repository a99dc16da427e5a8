"""Videos in the platform's object store, brought to this machine."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath

from minio import Minio
from minio.error import MinioException, S3Error
from urllib3.exceptions import HTTPError

from pathcast.core.errors import InvalidInputError, ServiceUnavailableError
from pathcast.core.settings import PlatformSettings
from pathcast.serving.batch.videos import IMAGE_SUFFIXES, VIDEO_SUFFIXES

SCHEME = "s3://"
_MANIFEST = ".fetched.json"


def connect(settings: PlatformSettings) -> Minio:
    """A client with the platform's credentials; nothing is sent yet."""
    return Minio(
        settings.s3_endpoint,
        access_key=settings.s3_access_key.get_secret_value(),
        secret_key=settings.s3_secret_key.get_secret_value(),
        secure=settings.s3_secure,
    )


def fetch(client: Minio, address: str, folder: Path) -> Path:
    """Bring s3://bucket/key, an object or everything below a prefix, into `folder`; the path to read from.

    What was fetched before and has not changed is not fetched again. Raises InvalidInputError where there is no
    video and no image, ServiceUnavailableError where the store does not answer.
    """
    bucket, _, key = address.removeprefix(SCHEME).partition("/")
    if not address.startswith(SCHEME) or not bucket or not key:
        raise InvalidInputError(f"{address}: expected s3://BUCKET/KEY of a video, or of a folder of them")
    folder.mkdir(parents=True, exist_ok=True)
    manifest = folder / _MANIFEST
    fetched: dict[str, str] = json.loads(manifest.read_text()) if manifest.is_file() else {}
    try:
        wanted = _objects(client, bucket, key)
        for name, etag in wanted.items():
            target = folder / PurePosixPath(name).name
            if fetched.get(name) != etag or not target.is_file():
                client.fget_object(bucket, name, str(target))
                fetched[name] = etag
                manifest.write_text(json.dumps(fetched))
    except S3Error as error:
        raise InvalidInputError(f"{address}: {error.code}: {error.message}", hint="check bucket and key") from error
    except (MinioException, HTTPError) as error:
        raise ServiceUnavailableError(
            f"{address}: the object store failed: {error}", hint="pathcast status shows whether it runs"
        ) from error
    if not wanted:
        raise InvalidInputError(f"{address}: no video and no image there", hint="check bucket and key")
    return folder if key not in wanted else folder / PurePosixPath(key).name


def _objects(client: Minio, bucket: str, key: str) -> dict[str, str]:
    """Names of the object `key`, or of the videos or images directly below it, with their ETags."""
    below = {
        item.object_name: item.etag or ""
        for item in client.list_objects(bucket, prefix=key, recursive=False)
        if not item.is_dir
    }
    if key in below:
        return {key: below[key]}
    prefix = f"{key.rstrip('/')}/"
    inside = {
        item.object_name: item.etag or ""
        for item in client.list_objects(bucket, prefix=prefix, recursive=False)
        if not item.is_dir and PurePosixPath(item.object_name).suffix.lower() in VIDEO_SUFFIXES | IMAGE_SUFFIXES
    }
    return dict(sorted(inside.items()))
