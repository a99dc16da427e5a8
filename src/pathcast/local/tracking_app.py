"""MLflow's web application behind a password; what gunicorn serves.

The application is used without MLflow's own launcher, which also starts eight processes for features that
Pathcast does not use and takes its database's address on a command line that others can read.
"""

from __future__ import annotations

import base64
import binascii
import os
import secrets
from collections.abc import Callable, Iterable
from typing import Any

from pathcast.local.parts import TRACKING_USER
from pathcast.local.tracking import ARTIFACTS_VARIABLE, DATABASE_VARIABLE, PASSWORD_VARIABLE

WsgiApplication = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def application() -> WsgiApplication:
    """Bring the database to MLflow's schema and give its application, closed to anyone without the password."""
    database, artifacts = os.environ.pop(DATABASE_VARIABLE), os.environ.pop(ARTIFACTS_VARIABLE)
    password = os.environ.pop(PASSWORD_VARIABLE)

    from mlflow import server
    from mlflow.server import constants, handlers

    os.environ[constants.BACKEND_STORE_URI_ENV_VAR] = database
    os.environ[constants.REGISTRY_STORE_URI_ENV_VAR] = database
    os.environ[constants.ARTIFACT_ROOT_ENV_VAR] = "mlflow-artifacts:/"
    os.environ[constants.ARTIFACTS_DESTINATION_ENV_VAR] = artifacts
    os.environ[constants.SERVE_ARTIFACTS_ENV_VAR] = "true"
    handlers.initialize_backend_stores(database, database, "mlflow-artifacts:/")
    return with_password(server.app, TRACKING_USER, password)


def with_password(app: WsgiApplication, user: str, password: str) -> WsgiApplication:
    """`app` for requests with HTTP Basic credentials of `user`; 401 for others."""
    expected = f"{user}:{password}".encode()

    def protected(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if secrets.compare_digest(_credentials(environ), expected):
            return app(environ, start_response)
        headers = [("WWW-Authenticate", 'Basic realm="pathcast"'), ("Content-Type", "text/plain")]
        start_response("401 Unauthorized", headers)
        return [b"Credentials are needed: see PATHCAST_MLFLOW_TRACKING_URI in platform.env\n"]

    return protected


def _credentials(environ: dict[str, Any]) -> bytes:
    scheme, _, encoded = str(environ.get("HTTP_AUTHORIZATION", "")).partition(" ")
    if scheme.lower() != "basic":
        return b""
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return b""
