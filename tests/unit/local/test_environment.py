import stat
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from pathcast.core.errors import InvalidInputError
from pathcast.core.settings import PlatformSettings, load_settings
from pathcast.local.environment import settings_variables, write_environment_file
from pathcast.local.parts import Site
from pathcast.local.state import Credentials

PORTS = {"kafka": 20001, "database": 20002, "object_store": 20003, "triton": 20004, "tracking": 20005}


def site(folder) -> Site:
    return Site(folder, "abc", PORTS, Credentials.load_or_generate(folder))


def test_clients_read_back_what_the_platform_wrote(tmp_path, monkeypatch):
    for name in settings_variables(site(tmp_path).settings()):
        monkeypatch.delenv(name, raising=False)
    settings = site(tmp_path).settings()
    write_environment_file(settings, tmp_path)
    assert stat.S_IMODE((tmp_path / "platform.env").stat().st_mode) == 0o600
    assert load_settings(tmp_path) == settings
    assert settings.triton_shared_memory is True
    assert settings.kafka_bootstrap == "127.0.0.1:20001"


def test_every_setting_is_written_whatever_the_callers_environment_says(tmp_path, monkeypatch):
    monkeypatch.setenv("PATHCAST_KAFKA_BOOTSTRAP", "elsewhere:9092")
    monkeypatch.setenv("PATHCAST_FRAMES_TOPIC", "others")
    variables = settings_variables(site(tmp_path).settings())
    assert set(variables) == {f"PATHCAST_{name.upper()}" for name in PlatformSettings.model_fields}
    assert variables["PATHCAST_KAFKA_BOOTSTRAP"] == "127.0.0.1:20001"
    assert variables["PATHCAST_FRAMES_TOPIC"] == "frames"


def test_settings_do_not_show_secrets(tmp_path):
    shown = repr(site(tmp_path).settings()) + repr(site(tmp_path))
    credentials = vars(Credentials.load_or_generate(tmp_path))
    assert not any(secret in shown for secret in credentials.values())


NAMES = [
    "plain",
    "with space",
    "it's",
    "do$llar",
    "hash #x",
    'quo"te',
    " lead",
    "ümlaut",
    "a&b",
    "(1)",
    "~",
    "`x`",
    "a;b",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_shell_and_the_services_read_the_same(name, tmp_path, monkeypatch):
    settings = site(tmp_path).settings().model_copy(update={"workspace": tmp_path / name / "workspace"})
    for variable in settings_variables(settings):
        monkeypatch.delenv(variable, raising=False)
    write_environment_file(settings, tmp_path)
    assert load_settings(tmp_path) == settings
    sourced = 'set -a; . "$0"; printenv PATHCAST_WORKSPACE; printenv PATHCAST_DATABASE_URL'
    shell = subprocess.run(["sh", "-c", sourced, tmp_path / "platform.env"], capture_output=True, text=True, check=True)
    expected = f"{settings.workspace}\n{settings.database_url.get_secret_value()}\n"
    assert (shell.stdout, shell.stderr) == (expected, "")


@pytest.mark.parametrize("name", ["back\\slash", "line\nbreak", "${HOME}'s"])
def test_what_they_would_read_differently_is_refused(name, tmp_path):
    settings = site(tmp_path).settings().model_copy(update={"workspace": tmp_path / name})
    with pytest.raises(InvalidInputError, match="PATHCAST_WORKSPACE: .* cannot stand in platform.env"):
        write_environment_file(settings, tmp_path)


@given(st.booleans(), st.text("abcdefghijklmnopqrstuvwxyz0123456789-:/", min_size=1))
def test_values_of_every_type_come_back(tmp_path_factory, flag, text):
    folder = tmp_path_factory.mktemp("environment")
    base = site(folder).settings()
    settings = base.model_copy(update={"s3_secure": flag, "frames_topic": text, "database_url": SecretStr(text)})
    write_environment_file(settings, folder)
    assert PlatformSettings(_env_file=folder / "platform.env") == settings
