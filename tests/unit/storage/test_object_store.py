from __future__ import annotations

import pytest
from minio import Minio
from minio.error import InvalidResponseError, S3Error, ServerError
from pydantic import SecretStr
from urllib3 import HTTPResponse
from urllib3.exceptions import MaxRetryError

from pathcast.core.errors import PathcastError, ServiceUnavailableError
from pathcast.core.settings import PlatformSettings
from pathcast.storage.object_store import object_store, object_store_errors


def answer(code: str, status: int) -> S3Error:
    return S3Error(HTTPResponse(status=status), code, "the reason", "/frames", "1", "1")


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (answer("XMinioStorageFull", 507), True),
        (answer("SlowDownWrite", 503), True),
        (answer("InternalError", 500), True),
        (answer("RequestTimeout", 400), True),
        (answer("InvalidAccessKeyId", 403), False),
        (answer("SignatureDoesNotMatch", 403), False),
        (answer("NoSuchBucket", 404), False),
        (ServerError("server failed with HTTP status code 502", 502), True),
        (InvalidResponseError(502, "text/html", "<html>"), True),
        (MaxRetryError(None, "/frames"), True),  # type: ignore[arg-type]
        (ConnectionResetError("gone"), True),
    ],
)
def test_what_may_pass_by_itself_is_waited_for(error: Exception, passes: bool) -> None:
    with pytest.raises(PathcastError, match="could not write a pack: ") as failure, object_store_errors("write a pack"):
        raise error
    assert isinstance(failure.value, ServiceUnavailableError) == passes
    assert failure.value.__cause__ is error


@pytest.mark.parametrize("endpoint", ["http://store:9000/a", "http://store:9000", "store:9000/a", "store:99999"])
def test_an_address_that_is_none_names_the_variable(endpoint: str) -> None:
    with pytest.raises(PathcastError, match="address or keys are wrong: .*\n.*set PATHCAST_S3_ENDPOINT to host:port"):
        object_store(_platform(endpoint))


@pytest.mark.parametrize("endpoint", ["store:9000", "127.0.0.1:9000", "store.example.com", "not-used"])
def test_an_address_is_taken_as_it_is(endpoint: str) -> None:
    assert isinstance(object_store(_platform(endpoint)), Minio)


def test_a_key_that_is_missing_is_not_called_a_wrong_address() -> None:
    with pytest.raises(PathcastError, match=r"(?i)secret key(.|\n)*PATHCAST_S3_SECRET_KEY"):
        object_store(_platform("store:9000").model_copy(update={"s3_secret_key": SecretStr("")}))


def _platform(endpoint: str) -> PlatformSettings:
    return PlatformSettings(
        kafka_bootstrap="not-used",
        database_url=SecretStr("not-used"),
        s3_endpoint=endpoint,
        s3_access_key=SecretStr("key"),
        s3_secret_key=SecretStr("secret"),
        triton_grpc="not-used",
        mlflow_tracking_uri=SecretStr("not-used"),
    )
