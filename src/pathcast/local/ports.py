"""TCP ports on loopback: chosen once, kept while they are free."""

from __future__ import annotations

import itertools
import secrets
import socket
from collections.abc import Iterable, Mapping

from pathcast.core.errors import PathcastError

LOOPBACK = "127.0.0.1"
FIRST_PORTS = range(12_000, 22_000)
"""They and their second ports lie below those that Linux gives to outgoing connections (from 32,768 on)."""
SECOND_PORT_OFFSET = 10_000
"""SeaweedFS's servers listen on a second port so much higher, and some of its clients count on it."""


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


def choose_ports(names: Iterable[str], known: Mapping[str, int], *, in_use: Iterable[str] = ()) -> dict[str, int]:
    """A port for every name: the known one if it is free or `in_use` by its own server, else a new free one.

    New ones lie in `FIRST_PORTS`, and the port `SECOND_PORT_OFFSET` above is free as well.
    """
    names = list(names)
    own = set(in_use)
    kept = {name: known[name] for name in names if name in known and (name in own or _is_usable(known[name]))}
    missing = [name for name in names if name not in kept]
    taken = {*known.values(), *kept.values()}
    return kept | dict(zip(missing, _free_ports(len(missing), taken), strict=True))


def _free_ports(count: int, taken: set[int]) -> list[int]:
    # From a random place on, so that platforms that start at the same time do not choose the same ones.
    start = secrets.randbelow(len(FIRST_PORTS))
    candidates = (FIRST_PORTS[(start + step) % len(FIRST_PORTS)] for step in range(len(FIRST_PORTS)))
    found = list(itertools.islice((port for port in candidates if port not in taken and _is_usable(port)), count))
    if len(found) < count:
        raise PathcastError(
            f"expected {count} free ports of {LOOPBACK} between {FIRST_PORTS[0]} and {FIRST_PORTS[-1]}, "
            f"found {len(found)}",
            hint="stop servers that are not needed",
        )
    return found


def _is_usable(port: int) -> bool:
    return is_free(port) and is_free(port + SECOND_PORT_OFFSET)
