"""Pipelines at Kubeflow Pipelines, by its own client."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from pathcast.core.errors import InvalidInputError, PathcastError, ServiceUnavailableError

TRAIN_IMAGE = "PATHCAST_TRAIN_IMAGE"
"""The variable that names the image of a pipeline's steps; components read it when they are imported."""

_PROBE_S = 10.0


class PipelineHost:
    """Kubeflow Pipelines at `host`, whose steps run in `namespace` as the service account `account`.

    Methods return a sentence that says what was done.

    They raise ServiceUnavailableError where the host does not answer, InvalidInputError where it refuses the token
    or what it was sent, or where PATHCAST_TRAIN_IMAGE does not name the steps' image; no message holds the token.
    """

    def __init__(
        self, host: str, token: str | None = None, namespace: str | None = None, account: str | None = None
    ) -> None:
        self.host, self._token, self._namespace, self._account = host, token, namespace, account

    @cached_property
    def _client(self) -> Any:
        return connect(self.host, self._token)

    def upload(self, pipeline: Any, name: str) -> str:
        """Store the pipeline; one that is known by its name gets another version."""
        version = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        with self._package(pipeline, name) as package, self._errors():
            store(self._client, package, shown_name(name), version, self._namespace)
        return f"{name}: stored at {self.host}, version {version}"

    def schedule(self, pipeline: Any, name: str, parameters: Mapping[str, Any], cron: str) -> str:
        """Run it again and again, never twice at a time."""
        if len(cron.split()) != 6:
            raise InvalidInputError(
                f"--schedule {cron!r}: expected six fields, seconds first", hint="every night at three: 0 0 3 * * *"
            )
        with self._package(pipeline, name) as package, self._errors():
            self._client.create_recurring_run(
                experiment_id=self._experiment(name),
                job_name=shown_name(name),
                cron_expression=cron,
                max_concurrency=1,
                no_catchup=True,
                pipeline_package_path=str(package),
                params=dict(parameters),
                service_account=self._account,
            )
        return f"{name}: runs by {cron!r} at {self.host}"

    def run(self, pipeline: Any, name: str, parameters: Mapping[str, Any]) -> str:
        """Start a run; it goes on without this process."""
        with self._package(pipeline, name) as package, self._errors():
            run = self._client.create_run_from_pipeline_package(
                str(package),
                arguments=dict(parameters),
                experiment_id=self._experiment(name),
                namespace=self._namespace,
                service_account=self._account,
            )
        return f"{name}: run {run.run_id} started at {self.host}"

    def _experiment(self, name: str) -> str:
        created = self._client.create_experiment(f"pathcast-{shown_name(name)}", namespace=self._namespace)
        return str(created.experiment_id)

    @contextmanager
    def _package(self, pipeline: Any, name: str) -> Iterator[Path]:
        from kfp import compiler

        if not os.environ.get(TRAIN_IMAGE):
            raise InvalidInputError(
                f"{TRAIN_IMAGE} is not set: which image the steps run in",
                hint=f"export {TRAIN_IMAGE}=REGISTRY/pathcast-train@sha256:…, by the digest that `make push` noted",
            )
        with tempfile.TemporaryDirectory() as folder:
            package = Path(folder) / f"{name}.yaml"
            compiler.Compiler().compile(pipeline, str(package))
            yield package

    @contextmanager
    def _errors(self) -> Iterator[None]:
        with host_errors(self.host):
            yield


def connect(host: str, token: str | None) -> Any:
    """Kubeflow's client. The host is asked once before: the client would ask for half a minute and not say why.

    Raises as PipelineHost does.
    """
    import urllib3
    from kfp import Client

    if not host.startswith(("http://", "https://")):
        raise InvalidInputError(f"{host}: expected the address of Kubeflow Pipelines, such as https://kubeflow.example")
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    with host_errors(host):
        answer = urllib3.PoolManager(timeout=_PROBE_S, retries=False).request(
            "GET", f"{host.rstrip('/')}/apis/v2beta1/healthz", headers=headers, redirect=False
        )
        if answer.status in (301, 302, 303, 307, 401, 403):
            raise _refused(host, answer.status)
        if answer.status != 200 or "json" not in answer.headers.get("Content-Type", ""):
            raise ServiceUnavailableError(
                f"{host}: expected Kubeflow Pipelines, got {answer.status} {answer.headers.get('Content-Type', '')}",
                hint="give the address under which /apis/v2beta1/healthz answers",
            )
        with warnings.catch_warnings():
            # It tells every time which servers it is for.
            warnings.simplefilter("ignore", FutureWarning)
            return Client(host=host, existing_token=token)


def store(client: Any, package: Path, name: str, version: str, namespace: str | None = None) -> None:
    """Upload a compiled pipeline: a new name as a pipeline, a known one as its next version."""
    known = client.get_pipeline_id(name)
    if known is None:
        client.upload_pipeline(str(package), pipeline_name=name, namespace=namespace)
    else:
        client.upload_pipeline_version(str(package), pipeline_version_name=version, pipeline_id=known)


def shown_name(name: str) -> str:
    """A pipeline's name at the host, which wants no underscore.

    >>> shown_name("train_model")
    'train-model'
    """
    return name.replace("_", "-")


@contextmanager
def host_errors(host: str) -> Iterator[None]:
    """Turn the client's errors into this project's."""
    from kfp_server_api.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ApiException as error:
        if error.status in (401, 403):
            raise _refused(host, error.status) from error
        if error.status >= 500:
            raise ServiceUnavailableError(f"{host}: answered {error.status}: {_said(error)}") from error
        raise PathcastError(f"{host}: refused it with {error.status}: {_said(error)}") from error
    except (HTTPError, OSError) as error:
        raise ServiceUnavailableError(
            f"{host}: does not answer ({type(error).__name__})", hint="check the address and the way to it"
        ) from error


def _refused(host: str, status: int) -> PathcastError:
    return InvalidInputError(
        f"{host}: answered {status}: the token is missing, expired or may not do this",
        hint="set KFP_TOKEN to a token of a user or service account with rights in the namespace",
    )


def _said(error: Any) -> str:
    """The host's words, short."""
    return " ".join(str(error.body or error.reason).split())[:300]
