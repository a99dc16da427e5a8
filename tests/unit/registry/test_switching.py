"""Whether a Triton serves a version: what it answers, and what counts as no."""

from __future__ import annotations

from typing import Any

import pytest

from pathcast.core.errors import PathcastError, ServiceUnavailableError
from pathcast.registry.switching import serves


class Server:
    """A Triton that says it is ready, and answers requests as it is told to."""

    def __init__(self, ready: bool, answer: bool | PathcastError) -> None:
        self._ready, self._answer = ready, answer

    def ready(self, model: str, version: str) -> bool:
        assert (model, version) == ("m", "3")
        return self._ready

    def canary(self, model: str) -> bool:
        if isinstance(self._answer, PathcastError):
            raise self._answer
        return self._answer


@pytest.mark.parametrize(
    ("ready", "answer", "expected"),
    [
        (True, True, True),
        (False, True, False),
        (True, False, False),
        (True, PathcastError("CUDA out of memory"), False),
        (True, ServiceUnavailableError("gone"), False),
    ],
)
def test_a_version_serves_where_it_is_ready_and_answers(ready: bool, answer: Any, expected: bool) -> None:
    assert serves(Server(ready, answer), "m", 3) is expected  # type: ignore[arg-type]
