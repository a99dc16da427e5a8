"""Videos in the platform's object store, brought to this machine, and results taken there."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from minio import Minio
from minio.error import MinioException, S3Error
from urllib3.exceptions import HTTPError

from pathcast.core.errors import InvalidInputError, PathcastError, ServiceUnavailableError
from pathcast.core.video import IMAGE_SUFFIXES, VIDEO_SUFFIXES

SCHEME = "s3://"
_MANIFEST = ".fetched.json"


def fetch(client: Minio, address: str, folder: Path) -> Path:
    """Bring s3://bucket/key, an object or everything below a prefix, into `folder`; the path to read from.

    Afterwards the folder, which is for this alone, holds that and nothing else. What was fetched before and has not
    changed is not fetched again; what came from elsewhere, or is no longer there, goes. Raises InvalidInputError where
    there is no video and no image, or the folder holds something that was not fetched, ServiceUnavailableError where
    the store does not answer.
    """
    bucket, wanted = listed(client, address)
    with _store_errors(address):
        folder.mkdir(parents=True, exist_ok=True)
        manifest = folder / _MANIFEST
        if not manifest.is_file():
            if any(folder.iterdir()):
                raise InvalidInputError(
                    f"{folder}: expected nothing, or what was fetched before, found other files",
                    hint="move them away, or name another folder with --out",
                )
            _note(manifest, {})
        try:
            before: dict[str, list[str]] = json.loads(manifest.read_text())
        except ValueError as error:
            raise InvalidInputError(f"{manifest}: damaged: {error}", hint=f"remove {folder}") from error
        # File name → where from, and its ETag.
        sources = {PurePosixPath(name).name: [f"{bucket}/{name}", etag] for name, etag in wanted.items()}
        fetched = {name: source for name, source in before.items() if sources.get(name) == source}
        for path in folder.iterdir():
            if path.name not in fetched and path != manifest:
                path.unlink()
        for name, (place, _) in sources.items():
            target = folder / name
            if name not in fetched or not target.is_file():
                client.fget_object(bucket, place.removeprefix(f"{bucket}/"), str(target))
                fetched[name] = sources[name]
                _note(manifest, fetched)
    _, key = _split(address)
    return folder if key not in wanted else folder / PurePosixPath(key).name


def names_below(client: Minio, address: str) -> list[str]:
    """Names of all files directly below the address, of which `fetch` brings the videos and images."""
    bucket, key = _split(address)
    with _store_errors(address):
        return [PurePosixPath(name).name for name in _objects(client, bucket, f"{key.rstrip('/')}/")]


def listed(client: Minio, address: str) -> tuple[str, dict[str, str]]:
    """The bucket, and the names of the object or of the videos and images directly below, with their ETags.

    Raises as `fetch` does.
    """
    bucket, key = _split(address)
    with _store_errors(address):
        wanted = _videos_and_images(client, bucket, key)
    if not wanted:
        raise InvalidInputError(f"{address}: no video and no image there", hint="check bucket and key")
    return bucket, wanted


def fetch_file(client: Minio, address: str, target: Path) -> bool:
    """Bring one object to the file `target`; False where there is none."""
    bucket, key = _split(address)
    with _store_errors(address):
        try:
            client.fget_object(bucket, key, str(target))
        except S3Error as error:
            if error.code != "NoSuchKey":
                raise
            return False
    return True


def remove(client: Minio, address: str) -> None:
    """Remove the object `address`, if there is one."""
    bucket, key = _split(address)
    with _store_errors(address):
        client.remove_object(bucket, key)


def store(client: Minio, file: Path, address: str) -> None:
    """Write the file as the object `address`, in place of an older one."""
    bucket, key = _split(address)
    with _store_errors(address):
        client.fput_object(bucket, key, str(file))


def _note(manifest: Path, fetched: Mapping[str, list[str]]) -> None:
    temporary = manifest.with_suffix(".new")
    temporary.write_text(json.dumps(fetched))
    temporary.replace(manifest)


def _split(address: str) -> tuple[str, str]:
    bucket, _, key = address.removeprefix(SCHEME).partition("/")
    if not address.startswith(SCHEME) or not bucket or not key:
        raise InvalidInputError(f"{address}: expected s3://BUCKET/KEY")
    return bucket, key


@contextmanager
def _store_errors(address: str) -> Iterator[None]:
    try:
        yield
    except S3Error as error:
        raise InvalidInputError(f"{address}: {error.code}: {error.message}", hint="check bucket and key") from error
    except (MinioException, HTTPError) as error:
        raise ServiceUnavailableError(
            f"{address}: the object store failed: {error}", hint="pathcast status shows whether it runs"
        ) from error
    except OSError as error:
        raise PathcastError(
            f"{address}: cannot be brought here: {error}", hint="check permissions and free space"
        ) from error


def _videos_and_images(client: Minio, bucket: str, key: str) -> dict[str, str]:
    """Names of the object `key`, or of the videos or images directly below it, with their ETags."""
    same = _objects(client, bucket, key)
    if key in same:
        return {key: same[key]}
    below = _objects(client, bucket, f"{key.rstrip('/')}/")
    kinds = VIDEO_SUFFIXES | IMAGE_SUFFIXES
    return {name: etag for name, etag in sorted(below.items()) if PurePosixPath(name).suffix.lower() in kinds}


def _objects(client: Minio, bucket: str, prefix: str) -> dict[str, str]:
    """Names that begin so, up to the next slash, with their ETags."""
    found = client.list_objects(bucket, prefix=prefix, recursive=False)
    return {item.object_name: item.etag or "" for item in found if not item.is_dir}
