"""The model repository: Triton's layout in an object store.

    <bucket>/triton/<model>/config.pbtxt, README.md    of the version that serves, which the config names
    <bucket>/triton/<model>/configs/gpu.pbtxt          the same for GPU servers: with TensorRT
    <bucket>/triton/<model>/<version>/model.onnx       or model.py for one that is written in Python
    <bucket>/triton/<model>/<version>/config.pbtxt, README.md    kept with the version, to go back to it
    <bucket>/triton/<model>/<version>/<part>/model.onnx, config.pbtxt    of an ensemble: the models that it joins

The parts of the version that serves are copied to models of their own names and of the same version number. While an
ensemble is switched, old and new parts are there side by side, so whichever it names answers; parts of another
signature under names aside, `<part>_aside_<version>`, until their own names have taken them up.

Triton runs under explicit model control, so nothing here is loaded before it is told, and a version that is
there in part or on trial is not loaded at all: the model's config names one version, and is written last.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from minio import Minio
from minio.commonconfig import CopySource
from minio.error import MinioException, S3Error
from urllib3.exceptions import HTTPError

from pathcast.core.errors import InvalidInputError, PathcastError, ServiceUnavailableError
from pathcast.export.ensemble import joining, part_folder, part_names
from pathcast.export.gpu_config import GPU_CONFIG, gpu_config
from pathcast.export.triton_config import also_serving, parse_config, serving_one, tensor_names

PREFIX = "triton"
MODEL_FILES = ("model.onnx", "model.py")
_SHA256 = "x-amz-meta-sha256"
_MODEL_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")


@dataclass(frozen=True, slots=True)
class PublishedModel:
    """One version of a model in the repository; `file_name` is one of MODEL_FILES."""

    model: str
    version: int
    file_name: str
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

    def publish(self, model: str, file: Path, config_pbtxt: str, *, version: int, card: str) -> PublishedModel:
        """`add` a version and `serve` it."""
        published = self.add(model, file, config_pbtxt, version=version, card=card)
        self.serve(model, version)
        return published

    def add(self, model: str, file: Path, config_pbtxt: str, *, version: int, card: str) -> PublishedModel:
        """Put a version into the repository, ONNX or Python; repeating it with the same file changes nothing.

        Where the configuration is an ensemble's, `file` is the whole that it computes, VERSION/model.onnx in a folder
        with or beside its parts. Raises InvalidInputError where the version exists with other content: versions never
        change.
        """
        _check_name(model, version)
        data = file.read_bytes()
        sha256 = hashlib.sha256(data).hexdigest()
        existing = self.find(model, version)
        if existing is not None and existing.sha256 != sha256:
            raise InvalidInputError(
                f"model {model} version {version}: exists with SHA-256 {existing.sha256}, got a file with {sha256}",
                hint="publish it as a new version",
            )
        folder = f"{PREFIX}/{model}/{version}"
        self._put(f"{folder}/README.md", card.encode(), "text/markdown")
        self._put(f"{folder}/config.pbtxt", config_pbtxt.encode(), "text/plain")
        for part in part_names(config_pbtxt):
            self._add_part(f"{folder}/{part}", part_folder(file.parents[1], part))
        if existing is None:
            key = _model_key(model, version, f"model{file.suffix}")
            self._put(key, data, "application/octet-stream", {"sha256": sha256})
        published = self.find(model, version)
        if published is None or published.sha256 != sha256:
            raise PathcastError(f"model {model} version {version}: the store does not give back what was put into it")
        return published

    def serve(self, model: str, version: int, *, under: str | None = None, aside: bool = False) -> list[str]:
        """Make `version` the one that Triton loads when it is told to load `model`, or the model `under`.

        Returns the models to load, in order: the parts of an ensemble come first, under names of this version alone
        where they stand `aside`. Raises InvalidInputError where the
        version is not in the repository.
        """
        published, served = self.find(model, version), under or model
        if published is None:
            raise _absent(model, version)
        folder = f"{PREFIX}/{model}/{version}"
        given = self._get(f"{folder}/config.pbtxt").decode()
        config, names = serving_one(given, served, version), _parts_under(given, model, served)
        if aside:
            names = {part: _aside(name, version) for part, name in names.items()}
        for part, name in names.items():
            self._copy(f"{folder}/{part}/model.onnx", _model_key(name, version, "model.onnx"))
            own = serving_one(self._get(f"{folder}/{part}/config.pbtxt").decode(), name, version)
            self._put_config(name, also_serving(own, self._versions_beside(name, own)))
        if served != model:
            self._copy(
                _model_key(model, version, published.file_name), _model_key(served, version, published.file_name)
            )
        self._put(f"{PREFIX}/{served}/README.md", self._get(f"{folder}/README.md"), "text/markdown")
        self._put_config(served, joining(config, list(names.values()), version))
        return [*names.values(), served]

    def settle(self, parts: Sequence[str], version: int) -> None:
        """Leave of an ensemble's parts the given version alone, now that it serves; they are to be loaded again."""
        for name in parts:
            self._put_config(name, serving_one(self._config(name), name, version))
            for other in self.versions(name):
                if other.version != version:
                    self.remove(name, other.version)

    def parts(self, served: str) -> list[str]:
        """The models that the ensemble of that name joins now; none of another model."""
        return part_names(self._config(served))

    def changes_a_part(self, model: str, version: int, *, under: str | None = None) -> bool:
        """Whether a part of the version has another signature than what is served under its name now."""
        if self.find(model, version) is None:
            return False
        there, folder = self.models(), f"{PREFIX}/{model}/{version}"
        parts = _parts_under(self._get(f"{folder}/config.pbtxt").decode(), model, under or model)
        return any(
            name in there
            and not _same_signature(self._config(name), self._get(f"{folder}/{part}/config.pbtxt").decode())
            for part, name in parts.items()
        )

    def tensors(self, model: str, version: int) -> tuple[list[str], list[str]]:
        """The names of the version's inputs and outputs; InvalidInputError where it is not in the repository."""
        if self.find(model, version) is None:
            raise _absent(model, version)
        return tensor_names(self._get(f"{PREFIX}/{model}/{version}/config.pbtxt").decode())

    def served_under(self, model: str, served: str) -> list[str]:
        """What Triton can be told to load of `model` under the name `served`: itself, then parts of any version."""
        there = set(self.models())
        found = [served, *(self.parts(served) if served in there else ())]
        for published in self.versions(model):
            config = self._get(f"{PREFIX}/{model}/{published.version}/config.pbtxt").decode()
            names = _parts_under(config, model, served).values()
            found += [*names, *(_aside(name, published.version) for name in names)]
        return [name for name in dict.fromkeys(found) if name in there]

    def withhold(self, model: str) -> None:
        """Make Triton no longer able to load a model, whose versions stay."""
        for name in ("config.pbtxt", GPU_CONFIG, "README.md"):
            with _store_errors():
                self._client.remove_object(self._bucket, f"{PREFIX}/{model}/{name}")

    def remove(self, model: str, version: int | None = None) -> None:
        """Delete a version, or the whole model; what is not there is no error. Unload it first."""
        place = f"{PREFIX}/{model}/" if version is None else f"{PREFIX}/{model}/{version}/"
        for key in self._keys(place):
            with _store_errors():
                self._client.remove_object(self._bucket, key)

    def find(self, model: str, version: int) -> PublishedModel | None:
        """The version, or None where there is none."""
        for name in MODEL_FILES:
            try:
                stat = self._client.stat_object(self._bucket, _model_key(model, version, name))
            except S3Error as error:
                if error.code in ("NoSuchKey", "NoSuchBucket"):
                    continue
                raise _unavailable(error) from error
            except (MinioException, HTTPError) as error:
                raise _unavailable(error) from error
            metadata = {field.lower(): value for field, value in (stat.metadata or {}).items()}
            return PublishedModel(model, version, name, metadata.get(_SHA256, ""), stat.size or 0, stat.last_modified)
        return None

    def models(self) -> list[str]:
        """Names of the models that Triton can be told to load, sorted."""
        keys = self._keys(f"{PREFIX}/")
        return sorted(parts[1] for key in keys if len(parts := key.split("/")) == 3 and parts[2] == "config.pbtxt")

    def versions(self, model: str) -> list[PublishedModel]:
        """All versions, oldest first."""
        numbers = sorted(
            int(parts[2])
            for parts in (key.split("/") for key in self._keys(f"{PREFIX}/{model}/"))
            if len(parts) == 4 and parts[2].isdecimal() and parts[3] in MODEL_FILES
        )
        found = [self.find(model, number) for number in numbers]
        return [version for version in found if version is not None]

    def fetch(self, model: str, version: int, target: Path) -> PublishedModel:
        """Write the version's file to `target`; raises PathcastError where its checksum is wrong."""
        published = self.find(model, version)
        if published is None:
            raise _absent(model, version)
        data = self._get(_model_key(model, version, published.file_name))
        if hashlib.sha256(data).hexdigest() != published.sha256:
            raise PathcastError(f"model {model} version {version}: the stored file is damaged (SHA-256 differs)")
        target.write_bytes(data)
        return published

    def card(self, model: str) -> str:
        """The model card, Markdown."""
        return self._get(f"{PREFIX}/{model}/README.md").decode()

    def _add_part(self, folder: str, source: Path) -> None:
        for name, kept, kind in (
            ("1/model.onnx", "model.onnx", "application/octet-stream"),
            ("config.pbtxt", "config.pbtxt", "text/plain"),
        ):
            try:
                data = (source / name).read_bytes()
            except OSError as error:
                raise InvalidInputError(f"{source / name}: expected a part of the ensemble: {error}") from error
            self._put(f"{folder}/{kept}", data, kind, {"sha256": hashlib.sha256(data).hexdigest()})

    def _put_config(self, served: str, config: str) -> None:
        """The general configuration last: it makes Triton see the model."""
        on_gpu = gpu_config(config)
        if on_gpu is not None:
            self._put(f"{PREFIX}/{served}/{GPU_CONFIG}", on_gpu.encode(), "text/plain")
        self._put(f"{PREFIX}/{served}/config.pbtxt", config.encode(), "text/plain")

    def _versions_beside(self, served: str, config_pbtxt: str) -> list[int]:
        """The versions that the model's configuration names now; none where the coming one has another signature."""
        if served not in self.models() or not _same_signature(self._config(served), config_pbtxt):
            return []
        return list(parse_config(self._config(served)).version_policy.specific.versions)

    def _config(self, served: str) -> str:
        return self._get(f"{PREFIX}/{served}/config.pbtxt").decode()

    def _copy(self, source: str, target: str) -> None:
        with _store_errors():
            self._client.copy_object(self._bucket, target, CopySource(self._bucket, source))

    def _put(self, key: str, data: bytes, content_type: str, metadata: dict[str, str] | None = None) -> None:
        with _store_errors():
            self._client.put_object(
                self._bucket, key, io.BytesIO(data), len(data), content_type=content_type, metadata=metadata
            )

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
        with _store_errors():
            return [item.object_name for item in self._client.list_objects(self._bucket, prefix, recursive=True)]


def _absent(model: str, version: int) -> InvalidInputError:
    return InvalidInputError(
        f"model {model} version {version}: not in the repository", hint=f"pathcast models show {model} lists what is"
    )


def _model_key(model: str, version: int, file_name: str) -> str:
    return f"{PREFIX}/{model}/{version}/{file_name}"


def _parts_under(config_pbtxt: str, model: str, served: str) -> dict[str, str]:
    """Part of an ensemble → the name it is served under when `model` is served under `served`."""
    suffix = served.removeprefix(model) if served.startswith(model) else f"_{served}"
    return {part: f"{part}{suffix}" for part in part_names(config_pbtxt)}


def _aside(part: str, version: int) -> str:
    """What a part is called while its own name takes up another signature."""
    return f"{part}_aside_{version}"


def _same_signature(config_pbtxt: str, other_pbtxt: str) -> bool:
    one, other = parse_config(config_pbtxt), parse_config(other_pbtxt)
    return (list(one.input), list(one.output)) == (list(other.input), list(other.output))


def _check_name(model: str, version: int) -> None:
    if not _MODEL_NAME.fullmatch(model) or version < 1:
        raise InvalidInputError(
            f"model {model!r} version {version}: expected a-z, 0-9 and '_' from a letter on, and a version from 1 on"
        )


@contextmanager
def _store_errors() -> Iterator[None]:
    try:
        yield
    except (MinioException, HTTPError) as error:
        raise _unavailable(error) from error


def _unavailable(error: Exception) -> ServiceUnavailableError:
    return ServiceUnavailableError(f"the object store failed: {error}", hint="pathcast status shows whether it runs")
