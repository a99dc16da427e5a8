"""The embedded tracking server and model registry: MLflow on the platform's PostgreSQL."""

from __future__ import annotations

import base64
import sys
import urllib.request

from pathcast.local.database import TRACKING_DATABASE, TRACKING_ROLE
from pathcast.local.parts import TRACKING_USER, Part, Site, base_environment
from pathcast.local.processes import Command

DATABASE_VARIABLE = "PATHCAST_TRACKING_DATABASE"
ARTIFACTS_VARIABLE = "PATHCAST_TRACKING_ARTIFACTS"
PASSWORD_VARIABLE = "PATHCAST_TRACKING_PASSWORD"  # noqa: S105


class Tracking(Part):
    """MLflow's web application in one gunicorn worker, see `tracking_app`; artefacts are files it serves itself."""

    name = "tracking"
    kind = "MLflow"
    port_names = ("tracking",)
    after = ("database",)
    ready_limit_s = 120.0

    def prepare(self, site: Site) -> None:
        (site.data_dir(self.name) / "artifacts").mkdir(exist_ok=True)

    def command(self, site: Site) -> Command:
        argv = (
            sys.executable,
            "-m",
            "gunicorn",
            f"--bind={site.address('tracking')}",
            "--workers=1",
            "--threads=8",
            "--timeout=120",
            "--graceful-timeout=5",
            "--no-control-socket",
            "pathcast.local.tracking_app:application()",
        )
        password = site.credentials.tracking_database_password
        env = base_environment() | {
            DATABASE_VARIABLE: (
                f"postgresql+psycopg://{TRACKING_ROLE}:{password}@{site.address('database')}/{TRACKING_DATABASE}"
            ),
            ARTIFACTS_VARIABLE: str(site.data_dir(self.name) / "artifacts"),
            PASSWORD_VARIABLE: site.credentials.tracking_password,
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "DO_NOT_TRACK": "true",
        }
        return Command(argv, env, site.data_dir(self.name))

    def probe(self, site: Site) -> None:
        """Read the list of experiments, which asks the database."""
        url = f"http://{site.address('tracking')}/api/2.0/mlflow/experiments/search?max_results=1"
        pair = f"{TRACKING_USER}:{site.credentials.tracking_password}".encode()
        request = urllib.request.Request(  # noqa: S310
            url, headers={"Authorization": f"Basic {base64.b64encode(pair).decode()}"}
        )
        # No proxy of the user's may come between.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=10):
            return
