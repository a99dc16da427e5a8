"""The embedded Triton as a part of the platform; how the server is installed and called is in `triton`."""

from __future__ import annotations

import io
import shutil
import urllib.request
from collections.abc import Callable
from pathlib import Path

from pathcast.core.errors import PathcastError
from pathcast.local.object_store import REGION, client
from pathcast.local.parts import Part, Site
from pathcast.local.processes import Command
from pathcast.local.triton import S3Access, TritonPorts, remove_leftover_memory, s3_repository, server_command
from pathcast.local.triton_install import TritonInstallation, default_root, install_triton

REPOSITORY = "triton"


class Triton(Part):
    """Triton on the model repository in the object store, with every published model loaded."""

    name = "triton"
    kind = "Triton"
    port_names = ("triton", "triton.http", "triton.metrics")
    after = ("object_store",)
    stop_limit_s = 20.0

    def install(self, say: Callable[[str], None]) -> None:
        install_triton(on_progress=say)

    def prepare(self, site: Site) -> None:
        from pathcast.registry.mot import publish_mot
        from pathcast.registry.repository import ModelRepository
        from pathcast.storage.object_store import object_store

        remove_leftover_memory(self._memory_prefix(site))
        shutil.rmtree(self._copies(site), ignore_errors=True)
        self._copies(site).mkdir()
        settings = site.settings()
        repository = ModelRepository(object_store(settings), settings.models_bucket)
        repository.create()
        publish_mot(repository)
        # Triton refuses a repository that does not exist, and a folder of S3 exists by what is in it.
        client(site).put_object("models", f"{REPOSITORY}/.repository", io.BytesIO(), 0)

    def command(self, site: Site) -> Command:
        command = server_command(
            TritonInstallation(default_root()),
            TritonPorts(site.ports["triton"], site.ports["triton.http"], site.ports["triton.metrics"]),
            s3_repository(site.address("object_store"), prefix=REPOSITORY),
            s3=S3Access(site.credentials.s3_access_key, site.credentials.s3_secret_key, REGION),
            shared_memory_prefix=self._memory_prefix(site),
            scratch_dir=self._copies(site),
        )
        return Command(command.argv, command.env, site.data_dir(self.name))

    def probe(self, site: Site) -> None:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://{site.address('triton.http')}/v2/health/ready", timeout=5):
            return

    def finish(self, site: Site) -> str | None:
        """Load what is published; Triton starts with nothing, since it loads only what it is told to.

        A model that does not load is named and left out: to put another version in its place, Triton must run.
        """
        from pathcast.registry.repository import ModelRepository
        from pathcast.serving.triton_client import TritonClient
        from pathcast.storage.object_store import object_store

        failures: list[str] = []
        settings = site.settings()
        repository = ModelRepository(object_store(settings), settings.models_bucket)
        with TritonClient(settings.triton_grpc) as client:
            for model in repository.models():
                try:
                    if not client.ready(model):
                        client.load(model)
                except PathcastError as error:
                    failures.append(f"{model}: {error.message.splitlines()[0]}")
        return f"without models that do not load: {'; '.join(failures)}" if failures else None

    def _copies(self, site: Site) -> Path:
        """Where Triton puts the files of loaded models; a killed one leaves them."""
        return site.data_dir(self.name) / "copies"

    def _memory_prefix(self, site: Site) -> str:
        return f"pathcast_{site.instance}"
