"""What a platform remembers between commands: ports, processes and generated credentials."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from pathcast.core.errors import InvalidInputError, ServiceUnavailableError
from pathcast.local.processes import POLL_S, ProcessIdentity

STATE_FILE = "platform.json"
CREDENTIALS_FILE = "credentials.json"
LOCK_FILE = "platform.lock"
_VERSION = 1


@dataclass(frozen=True)
class RunningPart:
    """A started process and the digest of the command and environment that it was started with."""

    identity: ProcessIdentity
    configuration: str


@dataclass(frozen=True)
class PlatformState:
    """Contents of platform.json. `instance` marks the processes of this platform among all others."""

    instance: str
    ports: Mapping[str, int] = field(default_factory=dict)
    parts: Mapping[str, RunningPart] = field(default_factory=dict)

    @classmethod
    def new(cls) -> PlatformState:
        return cls(instance=secrets.token_hex(8))

    @classmethod
    def load(cls, state_dir: Path) -> PlatformState | None:
        """The saved state; None if there is none.

        Raises `InvalidInputError` if the file is not what `save` writes.
        """
        path = state_dir / STATE_FILE
        try:
            text = path.read_text()
        except FileNotFoundError:
            return None
        try:
            raw: dict[str, Any] = json.loads(text)
            if raw["version"] != _VERSION:
                raise InvalidInputError(
                    f"{path}: expected version {_VERSION}, got {raw['version']}",
                    hint="it was written by another release of Pathcast; run its `pathcast down`",
                )
            parts = {
                name: RunningPart(ProcessIdentity(**part["identity"]), part["configuration"])
                for name, part in raw["parts"].items()
            }
            ports = {str(name): int(port) for name, port in raw["ports"].items()}
            return cls(str(raw["instance"]), ports, parts)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidInputError(
                f"{path} is not a platform's state: {error!r}",
                hint="if no platform of this folder is running, delete the file; data and credentials stay",
            ) from error

    def save(self, state_dir: Path) -> None:
        """Write platform.json; a reader sees the old or the new file, never a half."""
        write_private(state_dir / STATE_FILE, json.dumps({"version": _VERSION, **asdict(self)}, indent=2) + "\n")

    def with_part(self, name: str, part: RunningPart) -> PlatformState:
        return replace(self, parts={**self.parts, name: part})

    def without_part(self, name: str) -> PlatformState:
        return replace(self, parts={other: part for other, part in self.parts.items() if other != name})


@dataclass(frozen=True)
class Credentials:
    """Generated secrets of one platform; they live as long as its data."""

    database_password: str = field(repr=False)
    tracking_database_password: str = field(repr=False)
    s3_access_key: str = field(repr=False)
    s3_secret_key: str = field(repr=False)
    object_store_signing_key: str = field(repr=False)
    tracking_password: str = field(repr=False)

    @classmethod
    def load_or_generate(cls, state_dir: Path) -> Credentials:
        """The saved credentials, or new ones, saved with mode 0600."""
        path = state_dir / CREDENTIALS_FILE
        if path.exists():
            try:
                return cls(**json.loads(path.read_text()))
            except (ValueError, TypeError) as error:
                raise InvalidInputError(
                    f"{path} does not hold the credentials of this release: {error}",
                    hint=f"restore it, or delete {state_dir} to start with an empty platform",
                ) from error
        # Letters and digits only, so that they stand in URLs, INI and shell-style files without quoting.
        credentials = cls(**{name: secrets.token_hex(20) for name in cls.__dataclass_fields__})
        write_private(path, json.dumps(asdict(credentials), indent=2) + "\n")
        return credentials


def write_private(path: Path, text: str) -> None:
    """Replace a file's contents at once, readable by its owner only (0600)."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


@contextmanager
def exclusive(state_dir: Path, limit_s: float, on_wait: Callable[[], None]) -> Iterator[None]:
    """Hold the platform's lock: one command at a time starts or stops its parts.

    `on_wait` is called once if another command holds it. Raises `ServiceUnavailableError` after `limit_s`.
    """
    path = state_dir / LOCK_FILE
    deadline = time.monotonic() + limit_s
    waiting = False
    with path.open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if not waiting:
                    waiting = True
                    on_wait()
                if time.monotonic() > deadline:
                    raise ServiceUnavailableError(
                        f"{path} is held by another pathcast command for more than {limit_s:.0f} s",
                        hint="wait until that command has ended, or end it",
                    ) from error
                time.sleep(POLL_S)
        yield
