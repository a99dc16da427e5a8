"""TCP ports on loopback: chosen once, kept while they are free."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping

LOOPBACK = "127.0.0.1"


def is_free(port: int) -> bool:
    """Whether a server can listen on this port of 127.0.0.1 now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the servers do: connections of an earlier server that are still closing don't block its port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def accepts_connections(port: int, timeout_s: float = 1.0) -> bool:
    """Whether something listens on this port of 127.0.0.1."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=timeout_s):
            return True
    except OSError:
        return False


def choose_ports(names: Iterable[str], known: Mapping[str, int], *, in_use: Iterable[str] = ()) -> dict[str, int]:
    """A port for every name: the known one if it is free or `in_use` by its own server, else a new free one."""
    names = list(names)
    own = set(in_use)
    kept = {name: known[name] for name in names if name in known and (name in own or is_free(known[name]))}
    missing = [name for name in names if name not in kept]
    return kept | dict(zip(missing, _free_ports(len(missing), avoid=set(kept.values())), strict=True))


def _free_ports(count: int, avoid: set[int]) -> list[int]:
    # All are held open until all are found, so that none comes twice.
    held: list[socket.socket] = []
    found: list[int] = []
    try:
        while len(found) < count:
            holder = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            held.append(holder)
            holder.bind((LOOPBACK, 0))
            port = holder.getsockname()[1]
            if port not in avoid:
                found.append(port)
    finally:
        for holder in held:
            holder.close()
    return found
