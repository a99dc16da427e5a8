from collections.abc import Iterator

import pytest

from pathcast.training.actions import FAMILY
from pathcast.training.prepared import PreparedData, prepare
from tests.support.backbone import small_actions
from tests.support.clips import write_strips


@pytest.fixture(scope="module")
def small_backbone() -> Iterator[None]:
    """The actions family around a tiny backbone in the place of the pretrained one."""
    with small_actions():
        yield


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    """Thirty prepared clips, six frames of 32 x 32 each, of what stays and what wanders."""
    folder = tmp_path_factory.mktemp("clips")
    return prepare(FAMILY, write_strips(folder / "raw", 15), folder / "data", {"frames": 6, "size": 32})
