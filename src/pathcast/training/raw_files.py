"""Raw data of a family from files instead of from what the platform has stored: a path, or objects in its store."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from minio.error import MinioException, S3Error
from urllib3.exceptions import HTTPError

from pathcast.core.errors import InvalidInputError, ServiceUnavailableError
from pathcast.core.settings import PlatformSettings
from pathcast.serving.batch.s3 import SCHEME, fetch_file
from pathcast.storage.object_store import object_store

OPTION = "source"
"""The option of a selection that names the files."""


def bring(settings: PlatformSettings, source: str, folder: Path) -> Mapping[str, Any]:
    """Copy the files at `source` into `folder`: a file, a folder, or s3://BUCKET/KEY, an object or all below a prefix.

    Returns the selection's card; its `samples` are the files, since only the family's preparation knows what they
    hold. Raises InvalidInputError where there is no file, where one cannot be copied and where `folder` is below the
    source, ServiceUnavailableError where the store does not answer.
    """
    if source.startswith(SCHEME):
        files = _objects(settings, source, folder)
    else:
        files = _files(Path(source), folder)
    if not files:
        raise InvalidInputError(f"{OPTION} {source}: expected a file or more, found none")
    return {OPTION: source, "samples": files}


def local_file(settings: PlatformSettings, source: str, folder: Path, option: str) -> Path:
    """The file at `source`, a path or s3://BUCKET/KEY, of which `folder` gets a copy; `option` is what names it.

    Raises InvalidInputError where there is no such object, ServiceUnavailableError where the store does not answer. A
    path is not looked at.
    """
    if not source.startswith(SCHEME):
        return Path(source)
    target = folder / PurePosixPath(source).name
    if not fetch_file(object_store(settings), source, target):
        raise InvalidInputError(f"{option} {source}: expected an object, found none", hint="check the key")
    return target


def _files(source: Path, folder: Path) -> int:
    if source.is_file():
        shutil.copy2(source, folder / source.name)
        return 1
    if not source.is_dir():
        raise InvalidInputError(
            f"{OPTION} {source}: no such file or folder",
            hint="every pod of the pipeline must see the path; s3://BUCKET/KEY works everywhere",
        )
    if folder.resolve().is_relative_to(source.resolve()):
        raise InvalidInputError(
            f"{OPTION} {source}: expected a folder that the run does not write into, {folder} is below it",
            hint="move the data into a folder of its own, and give that one",
        )
    try:
        shutil.copytree(source, folder, dirs_exist_ok=True)
    except shutil.Error as error:
        file, _, reason = error.args[0][0]
        raise InvalidInputError(
            f"{OPTION} {source}: {file}: cannot be copied: {reason}", hint="take it away, or mend what it links to"
        ) from error
    return sum(path.is_file() for path in folder.rglob("*"))


def _objects(settings: PlatformSettings, source: str, folder: Path) -> int:
    bucket, _, key = source.removeprefix(SCHEME).partition("/")
    if not bucket or not key:
        raise InvalidInputError(f"{OPTION} {source}: expected s3://BUCKET/KEY")
    client = object_store(settings)
    root = PurePosixPath(key)
    count = 0
    try:
        for item in client.list_objects(bucket, prefix=key, recursive=True):
            name = PurePosixPath(item.object_name)
            # The prefix of a name is not always a folder: sets/a also begins sets/ab.
            if item.is_dir or not (name == root or name.is_relative_to(root)) or ".." in name.parts:
                continue
            target = folder / (name.name if name == root else name.relative_to(root))
            target.parent.mkdir(parents=True, exist_ok=True)
            client.fget_object(bucket, item.object_name, str(target))
            count += 1
    except S3Error as error:
        raise InvalidInputError(f"{OPTION} {source}: {error.code}: {error.message}", hint="check the bucket") from error
    except (MinioException, HTTPError) as error:
        raise ServiceUnavailableError(f"{OPTION} {source}: the object store failed: {error}") from error
    return count
