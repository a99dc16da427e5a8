"""What a server's name resolves to."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from pathcast.core.errors import ServiceUnavailableError
from pathcast.serving.replicas import replica_addresses


def found(*hosts: str) -> list[tuple[Any, ...]]:
    return [
        (socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 8001)) for host in hosts
    ]


@pytest.mark.parametrize(
    ("address", "hosts", "expected"),
    [
        ("triton-pods:8001", ["10.0.0.9", "10.0.0.7", "10.0.0.9"], ["10.0.0.7:8001", "10.0.0.9:8001"]),
        ("localhost:8001", ["::1", "127.0.0.1"], ["127.0.0.1:8001"]),
        ("[fd00::1]:8001", ["fd00::1"], ["[fd00::1]:8001"]),
    ],
)
def test_a_name_stands_for_its_replicas(
    monkeypatch: pytest.MonkeyPatch, address: str, hosts: list[str], expected: list[str]
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **named: found(*hosts))
    assert replica_addresses(address) == expected


def test_a_name_that_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **named: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    with pytest.raises(ServiceUnavailableError, match="triton-pods:8001: the name is not known"):
        replica_addresses("triton-pods:8001")
    with pytest.raises(ServiceUnavailableError, match="without-port"):
        replica_addresses("without-port")
