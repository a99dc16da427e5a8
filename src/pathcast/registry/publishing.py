"""From a model file to a served version: register, publish, load, smoke test, mark as champion."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from minio import Minio

from pathcast.core.errors import GateFailedError
from pathcast.core.settings import PlatformSettings
from pathcast.registry.repository import ModelRepository, PublishedModel
from pathcast.registry.tracking import CHAMPION, ModelRegistry
from pathcast.serving.triton_client import TritonClient
from pathcast.storage.connection import connect
from pathcast.storage.model_versions import StoredModelVersion, TrainingTracks, write_model_version

# Triton takes a folder for unchanged whose newest time, in whole seconds, is the one it loaded; then the
# config is written again, in a later second.
_RELOADS = 2
_CLOCK_STEP_S = 1.1

SmokeTest = Callable[[TritonClient, str], None]
"""Called with a client and the new version; raises GateFailedError where the live answers are wrong."""


def object_store(settings: PlatformSettings) -> Minio:
    """A client of the platform's object store."""
    return Minio(
        settings.s3_endpoint,
        access_key=settings.s3_access_key.get_secret_value(),
        secret_key=settings.s3_secret_key.get_secret_value(),
        secure=settings.s3_secure,
    )


def publish_model(
    settings: PlatformSettings,
    model: str,
    onnx_path: Path,
    config_pbtxt: str,
    *,
    card: str,
    smoke_test: SmokeTest,
    metrics: Mapping[str, float] | None = None,
    parameters: Mapping[str, Any] | None = None,
    tags: Mapping[str, str] | None = None,
    data_card: Mapping[str, Any] | None = None,
    training_tracks: Sequence[TrainingTracks] = (),
) -> PublishedModel:
    """Make `onnx_path` the newest served version of `model`, and champion once its smoke test has passed.

    `data_card` and `training_tracks` say what it learned from; the lineage of its rows leads there.
    Raises GateFailedError where Triton answers with another version or the smoke test fails; the alias
    then still points at the version before.
    """
    registry = ModelRegistry(settings.mlflow_tracking_uri)
    version = registry.register(
        model, onnx_path, card=card, metrics=metrics or {}, parameters=parameters or {}, tags=tags or {}
    )
    repository = ModelRepository(object_store(settings), settings.models_bucket)
    published = repository.publish(model, onnx_path, config_pbtxt, version=version, card=card)
    origin = StoredModelVersion(model, str(version), published.sha256, data_card or {}, training_tracks)
    with connect(settings.database_url, application_name="publishing") as connection:
        write_model_version(connection, origin)
    with TritonClient(settings.triton_grpc, shared_memory=settings.triton_shared_memory) as client:
        client.load(model)
        for _ in range(_RELOADS):
            if client.ready(model, str(version)):
                break
            time.sleep(_CLOCK_STEP_S)
            repository.publish(model, onnx_path, config_pbtxt, version=version, card=card)
            client.load(model)
        if not client.ready(model, str(version)):
            raise GateFailedError(
                f"model {model}: version {version} is published, but Triton does not serve it",
                hint="see Triton's log: pathcast logs triton",
            )
        smoke_test(client, str(version))
    registry.set_alias(model, CHAMPION, version)
    return published
