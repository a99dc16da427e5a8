"""When the archiver cleans."""

from __future__ import annotations

import pytest

from pathcast.messaging.archiver import CleaningTimes


@pytest.mark.parametrize(("every_s", "cleans_at"), [(3600, [60, 3660, 7260]), (20, [20, 40, 60])])
def test_cleaning_comes_soon_after_the_start_and_then_now_and_then(every_s: float, cleans_at: list[int]) -> None:
    times = CleaningTimes(every_s, now_s=1000)
    assert [second for second in range(7300) if times.take(1000 + second)][:3] == cleans_at
