"""Pathcast's own services as parts of the local platform: `python -m streaming.<name>`."""

from __future__ import annotations

import importlib.util
import os
import sys
import urllib.request
from collections.abc import Callable
from typing import ClassVar

from pathcast.core.errors import PathcastError
from pathcast.local.environment import settings_variables
from pathcast.local.parts import Part, Site, base_environment
from pathcast.local.processes import Command


class Service(Part):
    """One streaming service. It counts as ready when its metrics page answers: it waits for servers by itself."""

    after: ClassVar[tuple[str, ...]] = ("kafka", "database", "object_store")
    stop_limit_s = 20.0
    kind = "service"

    def install(self, say: Callable[[str], None]) -> None:
        # The package first: `find_spec` fails on a module of a package that does not exist.
        if importlib.util.find_spec("streaming") is None or importlib.util.find_spec(f"streaming.{self.name}") is None:
            raise PathcastError(
                f"the service {self.name} can't be started: the package `streaming` is not installed "
                "(the wheel holds the library and the command line only)",
                hint="run from a checkout of the repository (`pip install -e .`), or start the servers alone "
                "with `pathcast up --servers-only`",
            )

    def command(self, site: Site) -> Command:
        env = base_environment() | self._tuning() | settings_variables(site.settings())
        # Log lines reach the file as they are written.
        env["PYTHONUNBUFFERED"] = "1"
        env["PATHCAST_METRICS_PORT"] = str(site.ports[self.port_names[0]])
        return Command((sys.executable, "-m", f"streaming.{self.name}"), env, site.data_dir(self.name))

    def probe(self, site: Site) -> None:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://{self.address(site)}/metrics", timeout=5):
            return

    def _tuning(self) -> dict[str, str]:
        """The caller's variables for this service: how it works, not where the platform is."""
        prefixes = (f"PATHCAST_{self.name.upper()}_", "PATHCAST_LOG_LEVEL")
        return {name: value for name, value in os.environ.items() if name.startswith(prefixes)}


class Archiver(Service):
    """Frames to the object store."""

    name: ClassVar[str] = "archiver"
    port_names = ("archiver.metrics",)


class Analyzer(Service):
    """Frames to observations."""

    name: ClassVar[str] = "analyzer"
    port_names = ("analyzer.metrics",)
    after = (*Service.after, "triton")


class Recorder(Service):
    """Observations to the database."""

    name: ClassVar[str] = "recorder"
    port_names = ("recorder.metrics",)
