"""The model repository: Triton's layout in an object store.

    <bucket>/triton/<model>/config.pbtxt
    <bucket>/triton/<model>/README.md
    <bucket>/triton/<model>/<version>/model.onnx

Triton runs under explicit model control, so nothing here is loaded before it is told. An object appears
whole or not at all; within one publication the model file comes first and the config last, so a model
that has a config has the version it was written for.
"""

from __future__ import annotations

import hashlib
import io
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from minio import Minio
from minio.error import MinioException, S3Error
from urllib3.exceptions import HTTPError

from pathcast.core.errors import InvalidInputError, PathcastError, ServiceUnavailableError

PREFIX = "triton"
_SHA256 = "x-amz-meta-sha256"
_MODEL_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")


@dataclass(frozen=True, slots=True)
class PublishedModel:
    """One version of a model in the repository."""

    model: str
    version: int
    sha256: str
    size_bytes: int
    published_at: datetime


class ModelRepository:
    """Versions of served models. Methods raise ServiceUnavailableError when the store does not answer."""

    def __init__(self, client: Minio, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    def create(self) -> None:
        """Make the repository's folder exist: Triton does not start on a prefix that holds no object."""
        self._put(
            f"{PREFIX}/README.md",
            b"# Model repository\n\nOne folder for each model, in Triton's layout.\n",
            "text/markdown",
        )

    def publish(self, model: str, onnx_path: Path, config_pbtxt: str, *, version: int, card: str) -> PublishedModel:
        """Put a version into the repository; repeating it with the same file changes nothing.

        Raises InvalidInputError where the version exists with other content: versions never change.
        """
        _check_name(model, version)
        data = onnx_path.read_bytes()
        sha256 = hashlib.sha256(data).hexdigest()
        existing = self.find(model, version)
        if existing is not None and existing.sha256 != sha256:
            raise InvalidInputError(
                f"model {model} version {version}: exists with SHA-256 {existing.sha256}, got a file with {sha256}",
                hint="publish it as a new version",
            )
        if existing is None:
            self._put(_model_key(model, version), data, "application/octet-stream", {"sha256": sha256})
        self._put(f"{PREFIX}/{model}/README.md", card.encode(), "text/markdown")
        self._put(f"{PREFIX}/{model}/config.pbtxt", config_pbtxt.encode(), "text/plain")
        published = self.find(model, version)
        if published is None or published.sha256 != sha256:
            raise PathcastError(f"model {model} version {version}: the store does not give back what was put into it")
        return published

    def find(self, model: str, version: int) -> PublishedModel | None:
        """The version, or None where there is none."""
        try:
            stat = self._client.stat_object(self._bucket, _model_key(model, version))
        except S3Error as error:
            if error.code in ("NoSuchKey", "NoSuchBucket"):
                return None
            raise _unavailable(error) from error
        except (MinioException, HTTPError) as error:
            raise _unavailable(error) from error
        metadata = {name.lower(): value for name, value in (stat.metadata or {}).items()}
        return PublishedModel(model, version, metadata.get(_SHA256, ""), stat.size or 0, stat.last_modified)

    def models(self) -> list[str]:
        """Names of the models that have a config, sorted."""
        keys = self._keys(f"{PREFIX}/")
        return sorted({key.split("/")[1] for key in keys if key.endswith("/config.pbtxt")})

    def versions(self, model: str) -> list[PublishedModel]:
        """All versions, oldest first."""
        numbers = sorted(
            int(parts[2])
            for parts in (key.split("/") for key in self._keys(f"{PREFIX}/{model}/"))
            if len(parts) == 4 and parts[2].isdecimal() and parts[3] == "model.onnx"
        )
        found = [self.find(model, number) for number in numbers]
        return [version for version in found if version is not None]

    def fetch(self, model: str, version: int, target: Path) -> PublishedModel:
        """Write the version's file to `target`; raises PathcastError where its checksum is wrong."""
        published = self.find(model, version)
        if published is None:
            raise InvalidInputError(f"model {model} version {version}: not in the repository")
        data = self._get(_model_key(model, version))
        if hashlib.sha256(data).hexdigest() != published.sha256:
            raise PathcastError(f"model {model} version {version}: the stored file is damaged (SHA-256 differs)")
        target.write_bytes(data)
        return published

    def card(self, model: str) -> str:
        """The model card, Markdown."""
        return self._get(f"{PREFIX}/{model}/README.md").decode()

    def _put(self, key: str, data: bytes, content_type: str, metadata: dict[str, str] | None = None) -> None:
        try:
            self._client.put_object(
                self._bucket, key, io.BytesIO(data), len(data), content_type=content_type, metadata=metadata
            )
        except (MinioException, HTTPError) as error:
            raise _unavailable(error) from error

    def _get(self, key: str) -> bytes:
        try:
            response = self._client.get_object(self._bucket, key)
            try:
                return bytes(response.read())
            finally:
                response.close()
                response.release_conn()
        except S3Error as error:
            if error.code == "NoSuchKey":
                raise InvalidInputError(f"{key}: not in bucket {self._bucket}") from error
            raise _unavailable(error) from error
        except (MinioException, HTTPError) as error:
            raise _unavailable(error) from error

    def _keys(self, prefix: str) -> list[str]:
        try:
            return [item.object_name for item in self._client.list_objects(self._bucket, prefix, recursive=True)]
        except (MinioException, HTTPError) as error:
            raise _unavailable(error) from error


def _model_key(model: str, version: int) -> str:
    return f"{PREFIX}/{model}/{version}/model.onnx"


def _check_name(model: str, version: int) -> None:
    if not _MODEL_NAME.fullmatch(model) or version < 1:
        raise InvalidInputError(
            f"model {model!r} version {version}: expected a-z, 0-9 and '_' from a letter on, and a version from 1 on"
        )


def _unavailable(error: Exception) -> ServiceUnavailableError:
    return ServiceUnavailableError(f"the object store failed: {error}", hint="pathcast status shows whether it runs")
