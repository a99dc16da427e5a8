"""Waiting for a condition, with a limit."""

import time
from collections.abc import Callable

LIMIT_S = 60.0


def wait_for(condition: Callable[[], object], what: str, limit_s: float = LIMIT_S) -> None:
    """Look again and again until `condition` is true; fail with `what` if it is not within the limit."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {limit_s} s: {what}"
        time.sleep(0.01)
