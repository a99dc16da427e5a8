"""Servers that integration tests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pathcast.core.settings import PlatformSettings
from pathcast.local.platform import Platform


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """All servers of a local platform, running; a test that stops one starts it again."""
    running = Platform(state_folder(tmp_path_factory))
    try:
        running.up(servers_only=True)
        yield running
    finally:
        running.down()


@pytest.fixture(scope="session")
def platform_settings(platform: Platform) -> PlatformSettings:
    return platform.settings()


def state_folder(factory: pytest.TempPathFactory) -> Path:
    """A folder with a name that is longer than a local socket's may be, below one that only its owner can enter."""
    folder = factory.mktemp("platform") / ("a-long-name-" * 10)
    folder.parent.chmod(0o700)
    return folder
