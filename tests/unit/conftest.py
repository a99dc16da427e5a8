"""For unit tests in one process: what one library costs where all the others are loaded."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import SimpleNamespace

import pytest


def callers() -> list[tuple[object, str, int, str]]:
    """The frames of the callers as `inspect.stack` has them: frame, file, line, function; nothing of the source."""
    frame, found = sys._getframe(1), []
    while frame is not None:
        found.append((frame, frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name))
        frame = frame.f_back
    return found


@pytest.fixture(scope="session")
def quick_kfp() -> Iterator[None]:
    """Pipelines are built in a second.

    At each setting of each task kfp asks `inspect.stack` which function calls, and that looks for the source of every
    frame below in every loaded module: a minute a pipeline with pytest's frames and TensorFlow's modules.
    """
    from kfp.dsl import pipeline_task

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(pipeline_task, "inspect", SimpleNamespace(stack=callers))
        yield
