"""`pathcast up`, `down`, `status` and `logs`: the local platform."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table

from pathcast.cli.output_file import file_option, write_json
from pathcast.core.errors import PathcastError
from pathcast.core.settings import STATE_DIR
from pathcast.local.interrupts import termination_as_interrupt

if TYPE_CHECKING:
    from pathcast.local.platform import PartStatus

STATE_DIR_OPTION = typer.Option(
    STATE_DIR, "--state-dir", file_okay=False, help="Folder of the platform's data, logs and settings."
)
FOLLOW_POLL_S = 0.2


def register(app: typer.Typer) -> None:
    """Add the commands of this module to the command line."""
    app.command(epilog="Example: pathcast up --servers-only")(up)
    app.command(epilog="Example: pathcast down")(down)
    app.command(epilog="Example: pathcast status --json status.json")(status)
    app.command(epilog="Example: pathcast logs analyzer --follow")(logs)


def up(
    servers_only: bool = typer.Option(False, "--servers-only", help="Start the servers, not the streaming services."),
    durable: bool = typer.Option(True, help="Keep the broker's records in the object store, so that they survive it."),
    state_dir: Path = STATE_DIR_OPTION,
) -> None:
    """Start the local platform: whatever of it does not run yet, on loopback, with generated credentials."""
    from pathcast.local.platform import Platform

    platform = Platform(state_dir, durable=durable)
    console = Console(stderr=True)
    with termination_as_interrupt(), _ProgressDisplay(console) as display:
        platform.up(servers_only=servers_only, on_progress=display)
    typer.echo(
        f"The platform is up; its addresses and credentials are in {platform.state_dir / 'platform.env'}", err=True
    )


def down(state_dir: Path = STATE_DIR_OPTION) -> None:
    """Stop the local platform; its data and logs stay."""
    from pathcast.local.platform import Platform

    with _ProgressDisplay(Console(stderr=True)) as display:
        Platform(state_dir).down(on_progress=display)


def status(
    json: Path | None = file_option("Also write what is shown to this file."),
    state_dir: Path = STATE_DIR_OPTION,
) -> None:
    """Show every part of the local platform: address, process, state, memory and age."""
    from pathcast.local.platform import Platform

    parts = Platform(state_dir).status()
    if json is not None:
        _write_json(parts, json)
    table = Table("name", "kind", box=None, pad_edge=False)
    # Addresses are to be copied, whatever the width of the terminal.
    table.add_column("address", no_wrap=True)
    table.add_column("pid", justify="right")
    table.add_column("state")
    table.add_column("memory", justify="right")
    table.add_column("uptime", justify="right")
    styles = {"ready": "green", "stopped": "dim"}
    for part in parts:
        table.add_row(
            part.name,
            part.kind,
            part.address,
            "" if part.pid is None else str(part.pid),
            f"[{styles.get(part.state, 'red')}]{part.state}[/]",
            "" if part.memory_bytes is None else f"{part.memory_bytes / 1e6:.0f} MB",
            "" if part.uptime_s is None else _duration(part.uptime_s),
        )
    Console().print(table)


def logs(
    name: str = typer.Argument(help="A part, as `pathcast status` names it."),
    follow: bool = typer.Option(False, "--follow", "-f", help="Go on printing what is added, until Ctrl-C."),
    lines: int = typer.Option(100, "--lines", "-n", min=1, help="How many of the last lines to print."),
    state_dir: Path = STATE_DIR_OPTION,
) -> None:
    """Print the log of one part."""
    from pathcast.local.platform import Platform

    path = Platform(state_dir).log_path(name)
    if not path.exists():
        raise PathcastError(f"there is no log of {name} in {path.parent}", hint="run `pathcast up` first")
    with path.open(errors="replace") as file:
        for line in deque(file, maxlen=lines):
            typer.echo(line, nl=False)
        while follow:
            line = file.readline()
            if line:
                typer.echo(line, nl=False)
            else:
                time.sleep(FOLLOW_POLL_S)


def _write_json(parts: Sequence[PartStatus], path: Path) -> None:
    rows = [
        {
            "name": part.name,
            "kind": part.kind,
            "address": part.address,
            "pid": part.pid,
            "state": part.state,
            "memory_mb": None if part.memory_bytes is None else round(part.memory_bytes / 1e6, 1),
            "uptime_s": None if part.uptime_s is None else round(part.uptime_s, 1),
            "log": str(part.log),
        }
        for part in parts
    ]
    write_json(path, {"parts": rows})


def _duration(seconds: float) -> str:
    """Hours, minutes and seconds.

    >>> _duration(3725.4)
    '1:02:05'
    """
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


class _ProgressDisplay:
    """One line per part with what happens to it; plain lines where the output is not a terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=8, transient=False)
        self._rows: dict[str, Spinner | str] = {}
        self._change = threading.Lock()

    def __call__(self, name: str, message: str) -> None:
        with self._change:
            if not self._console.is_terminal:
                self._console.print(f"{name}: {message}", highlight=False)
                return
            ended = message.startswith(("ready", "stopped"))
            text = f"{name:<14} {message}"
            self._rows[name] = f"  {text}" if ended else Spinner("dots", text=text)
            table = Table.grid()
            for row in self._rows.values():
                table.add_row(row)
            self._live.update(table)

    def __enter__(self) -> _ProgressDisplay:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._console.is_terminal:
            self._live.stop()
