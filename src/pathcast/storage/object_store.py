"""The platform's object store: its client, and the client's errors as Pathcast's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import urllib3
from minio import Minio
from minio.error import InvalidResponseError, S3Error, ServerError
from urllib3.exceptions import HTTPError

from pathcast.core.errors import PathcastError, ServiceUnavailableError
from pathcast.core.settings import PlatformSettings

_RETRYABLE_CODES = {"InternalError", "ServiceUnavailable", "SlowDown", "RequestTimeout"}


def object_store(settings: PlatformSettings, http_client: urllib3.PoolManager | None = None) -> Minio:
    """A client with the platform's address and keys; nothing is sent yet. Raises PathcastError where they are wrong.

    Without `http_client` it has minio's own: it waits for five minutes and repeats five times.
    """
    try:
        return Minio(
            settings.s3_endpoint,
            access_key=settings.s3_access_key.get_secret_value(),
            secret_key=settings.s3_secret_key.get_secret_value(),
            secure=settings.s3_secure,
            http_client=http_client,
        )
    except ValueError as error:
        raise PathcastError(
            f"the object store's address or keys are wrong: {error}",
            hint="set PATHCAST_S3_ENDPOINT to host:port, without http:// and without a path, and both keys, "
            "PATHCAST_S3_ACCESS_KEY and PATHCAST_S3_SECRET_KEY",
        ) from error


@contextmanager
def object_store_errors(doing: str) -> Iterator[None]:
    """Turn the client's errors into Pathcast's; `doing` completes "could not …".

    What is the server's own trouble (any status from 500 on, as 507 of a full disk) is a ServiceUnavailableError.
    """
    try:
        yield
    except S3Error as error:
        retryable = error.code in _RETRYABLE_CODES or error.response.status >= 500
        kind = ServiceUnavailableError if retryable else PathcastError
        raise kind(f"could not {doing}: {error.code}: {error.message}") from error
    except (HTTPError, InvalidResponseError, ServerError, OSError) as error:
        raise ServiceUnavailableError(
            f"could not {doing}: {error}", hint="see whether the object store runs: pathcast status"
        ) from error
