"""What every part of the local platform tells about itself, and the surroundings it is started in."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pydantic import SecretStr

from pathcast.core.settings import PlatformSettings
from pathcast.local.ports import LOOPBACK
from pathcast.local.processes import MARK, Command, ProcessIdentity, marked
from pathcast.local.state import Credentials

Progress = Callable[[str, str], None]
"""Called with a part's name and what happens to it now."""

PASSED_ON = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE")

DATABASE_USER = "pathcast"
DATABASE_NAME = "pathcast"
TRACKING_USER = "pathcast"


@dataclass(frozen=True)
class Site:
    """Where one platform lives: its folder (absolute), ports by name, and credentials."""

    state_dir: Path
    instance: str
    ports: Mapping[str, int]
    credentials: Credentials

    def address(self, port_name: str) -> str:
        """`host:port` of the named port."""
        return f"{LOOPBACK}:{self.ports[port_name]}"

    def data_dir(self, name: str) -> Path:
        return self.state_dir / "data" / name

    def log_path(self, name: str) -> Path:
        return self.state_dir / "logs" / f"{name}.log"

    def mark(self, name: str) -> str:
        """What the environment of the part's processes carries, see `processes.marked`."""
        return f"{self.instance}/{name}/"

    def database_url(self) -> str:
        return (
            f"postgresql://{DATABASE_USER}:{self.credentials.database_password}@{self.address('database')}"
            f"/{DATABASE_NAME}"
        )

    def settings(self) -> PlatformSettings:
        """What clients need to know to use this platform."""
        credentials = self.credentials
        tracking_uri = f"http://{TRACKING_USER}:{credentials.tracking_password}@{self.address('tracking')}"
        # `model_construct`: no variable of the caller's environment may take the place of a value.
        return PlatformSettings.model_construct(
            kafka_bootstrap=self.address("kafka"),
            database_url=SecretStr(self.database_url()),
            s3_endpoint=self.address("object_store"),
            s3_access_key=SecretStr(credentials.s3_access_key),
            s3_secret_key=SecretStr(credentials.s3_secret_key),
            triton_grpc=self.address("triton"),
            triton_shared_memory=True,
            mlflow_tracking_uri=SecretStr(tracking_uri),
            workspace=self.state_dir / "workspace",
        )


class Part(ABC):
    """A server or service of the platform.

    `prepare` is called before each start and must be safe to repeat, `finish` once the part answers. `probe`
    raises any exception while the part is not ready. `after` names the parts that must be ready before it.
    """

    name: ClassVar[str]
    kind: ClassVar[str]
    port_names: ClassVar[tuple[str, ...]] = ()
    after: ClassVar[tuple[str, ...]] = ()
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    stop_limit_s: ClassVar[float] = 15.0
    ready_limit_s: ClassVar[float] = 60.0

    def install(self, say: Callable[[str], None]) -> None:
        """Fetch what the part's program needs and does not come with the package."""
        return

    def prepare(self, site: Site) -> None:
        """Make the part's folder ready for a start; no process of the part runs now."""
        return

    @abstractmethod
    def command(self, site: Site) -> Command:
        """How the part is started."""

    @abstractmethod
    def probe(self, site: Site) -> None:
        """Return if the part answers as it should; raise anything if not."""

    def finish(self, site: Site) -> str | None:
        """Bring the running part to the state that its clients expect; repeated after every start.

        Returns what the user must know although the part is ready, if anything.
        """
        return None

    def address(self, site: Site) -> str:
        """`host:port` for people to see; empty for a part that listens nowhere."""
        return site.address(self.port_names[0]) if self.port_names else ""

    def leftovers(self, site: Site) -> list[ProcessIdentity]:
        """Processes of an earlier start of this part that still run."""
        return marked(site.mark(self.name))


def base_environment() -> dict[str, str]:
    """The few variables of the caller that any program may need; none of them carries a secret of ours."""
    return {name: os.environ[name] for name in PASSED_ON if name in os.environ}


def configuration_digest(command: Command) -> str:
    """Changes when a part has to be started again to work with the others: other ports, credentials or options.

    By what name the program itself was found does not count: an interpreter has several.
    """
    own = {name: value for name, value in command.env.items() if name not in {*PASSED_ON, MARK}}
    text = json.dumps([command.argv[1:], sorted(own.items()), str(command.cwd)])
    return hashlib.sha256(text.encode()).hexdigest()
