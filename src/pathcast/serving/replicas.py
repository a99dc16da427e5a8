"""The replicas of a server behind one name."""

from __future__ import annotations

import socket

from pathcast.core.errors import ServiceUnavailableError


def replica_addresses(address: str) -> list[str]:
    """The `host:port` of each replica that the name in `address` resolves to, sorted.

    A headless Service of Kubernetes resolves to one address for each pod that is ready, any other name to one. Raises
    ServiceUnavailableError where it resolves to none.

    >>> replica_addresses("127.0.0.1:8001")
    ['127.0.0.1:8001']
    """
    host, _, port = address.rpartition(":")
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except (OSError, ValueError) as error:
        raise ServiceUnavailableError(
            f"Triton at {address}: the name is not known: {error}", hint="check PATHCAST_TRITON_GRPC, host:port"
        ) from error
    # A name such as localhost stands for one server by both protocols.
    families = {family for family, *_ in found}
    chosen = socket.AF_INET if socket.AF_INET in families else socket.AF_INET6
    hosts = sorted({str(place[0]) for family, _, _, _, place in found if family == chosen})
    return [f"[{each}]:{port}" if ":" in each else f"{each}:{port}" for each in hosts]
