from __future__ import annotations

from unittest.mock import sentinel

import pytest

from pathcast.core.errors import InvalidInputError
from pathcast.monitoring.settings import MonitorSettings
from pathcast.training.drift import check_family


def test_changes_to_a_family_that_nobody_knows_are_refused() -> None:
    monitor = MonitorSettings(definitions={"detectr": {"min_windows": 4}})
    with pytest.raises(InvalidInputError, match=r"expected families of actions, detector, .*, got detectr"):
        check_family(sentinel.no_server_is_asked, "detector", monitor=monitor)
