import socket

import pytest

from pathcast.core.errors import PathcastError
from pathcast.local import ports
from pathcast.local.ports import FIRST_PORTS, LOOPBACK, SECOND_PORT_OFFSET, choose_ports, is_free


@pytest.fixture
def listener():
    with socket.socket() as server:
        server.bind((LOOPBACK, 0))
        server.listen()
        yield server.getsockname()[1]


def test_new_ports_differ_and_are_free():
    chosen = choose_ports([f"server{i}" for i in range(20)], {})
    assert len(set(chosen.values())) == 20
    assert all(port in FIRST_PORTS for port in chosen.values())
    assert all(is_free(port) and is_free(port + SECOND_PORT_OFFSET) for port in chosen.values())


@pytest.mark.parametrize("names", [[], ["a"], ["a", "b", "c"]])
def test_known_free_ports_are_kept(names):
    known = choose_ports(["a", "b", "c"], {})
    assert choose_ports(names, known) == {name: known[name] for name in names}


def test_a_port_taken_by_a_stranger_is_replaced(listener):
    chosen = choose_ports(["a"], {"a": listener})
    assert chosen["a"] != listener


def test_a_second_port_taken_by_a_stranger_replaces_the_first():
    known = choose_ports(["a"], {})
    with socket.socket() as stranger:
        stranger.bind((LOOPBACK, known["a"] + SECOND_PORT_OFFSET))
        stranger.listen()
        assert choose_ports(["a"], known) != known


def test_a_port_held_by_its_own_server_is_kept(listener):
    assert choose_ports(["a"], {"a": listener}, in_use=["a"]) == {"a": listener}


def test_a_new_port_is_never_one_that_another_stopped_server_has():
    known = choose_ports([f"server{i}" for i in range(50)], {})
    assert not set(choose_ports([f"new{i}" for i in range(50)], known).values()) & set(known.values())


def test_too_few_ports_is_an_error(monkeypatch):
    monkeypatch.setattr(ports, "FIRST_PORTS", range(12_000, 12_003))
    with pytest.raises(PathcastError, match="expected 4 free ports"):
        choose_ports(["a", "b", "c", "d"], {})
