import json
import multiprocessing
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pathcast.core.errors import InvalidInputError, ServiceUnavailableError
from pathcast.local.processes import ProcessIdentity
from pathcast.local.state import Credentials, PlatformState, RunningPart, exclusive, write_private

names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
identities = st.builds(ProcessIdentity, st.integers(1, 2**22), st.integers(0, 2**63), st.text("0123456789abcdef-"))
states = st.builds(
    PlatformState,
    st.text("0123456789abcdef", min_size=1),
    st.dictionaries(names, st.integers(1, 65535)),
    st.dictionaries(names, st.builds(RunningPart, identities, st.text("0123456789abcdef"))),
)


@given(states)
def test_what_is_saved_is_loaded(tmp_path_factory, state):
    folder = tmp_path_factory.mktemp("state")
    state.save(folder)
    assert PlatformState.load(folder) == state


def test_no_file_is_no_platform(tmp_path):
    assert PlatformState.load(tmp_path) is None


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "3", '{"version": 1}', '{"version": 2, "instance": "a", "ports": {}, "parts": {}}',
     '{"version": 1, "instance": "a", "ports": {"kafka": "x"}, "parts": {}}',
     '{"version": 1, "instance": "a", "ports": {}, "parts": {"kafka": {"identity": {"pid": 1}}}}'],
)  # fmt: skip
def test_a_damaged_file_is_a_clear_error(tmp_path, text):
    (tmp_path / "platform.json").write_text(text)
    with pytest.raises(InvalidInputError, match=r"platform\.json"):
        PlatformState.load(tmp_path)


def test_credentials_are_made_once_are_private_and_are_not_shown(tmp_path):
    first = Credentials.load_or_generate(tmp_path)
    assert Credentials.load_or_generate(tmp_path) == first
    values = json.loads((tmp_path / "credentials.json").read_text())
    assert len(set(values.values())) == len(values)
    assert all(len(value) >= 32 for value in values.values())
    assert not any(value in repr(first) for value in values.values())
    assert stat.S_IMODE((tmp_path / "credentials.json").stat().st_mode) == 0o600


def test_two_platforms_have_different_credentials(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    a, b = (Credentials.load_or_generate(tmp_path / name) for name in "ab")
    assert not set(vars(a).values()) & set(vars(b).values())


def test_damaged_credentials_are_a_clear_error(tmp_path):
    (tmp_path / "credentials.json").write_text('{"database_password": "x"}')
    with pytest.raises(InvalidInputError, match=r"credentials\.json"):
        Credentials.load_or_generate(tmp_path)


def test_a_private_file_is_private_also_where_an_open_one_was(tmp_path):
    path = tmp_path / "secret"
    path.write_text("old")
    path.chmod(0o644)
    write_private(path, "new")
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def _hold(folder, held, release):
    with exclusive(folder, 10, lambda: None):
        held.set()
        release.wait(30)


def test_one_command_at_a_time(tmp_path):
    context = multiprocessing.get_context("spawn")
    held, release = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(tmp_path, held, release))
    other.start()
    try:
        assert held.wait(30)
        waits = []
        with (
            pytest.raises(ServiceUnavailableError, match="held by another"),
            exclusive(tmp_path, 0.2, lambda: waits.append(1)),
        ):
            pass
        assert waits == [1]
        release.set()
        with exclusive(tmp_path, 30, lambda: None):
            pass
    finally:
        release.set()
        other.join(30)
    assert other.exitcode == 0
