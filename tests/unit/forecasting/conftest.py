from __future__ import annotations

import os
from pathlib import Path

import pytest

DATA = Path(os.environ.get("PATHCAST_DATA", Path(__file__).parents[4] / "shared" / "data"))


@pytest.fixture(scope="session")
def eth_ucy_root() -> Path:
    root = DATA / "eth_ucy"
    if not root.is_dir():
        pytest.skip(f"{root} is not there; PATHCAST_DATA names the folder of the evaluation data")
    return root
