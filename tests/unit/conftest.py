"""For unit tests: what they must not cost, and the data that several packages' tests share."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support.yolox import real_frames, yolox_path

__all__ = ["real_frames", "yolox_path"]

PROJECT = Path(__file__).parents[2]
WITHOUT_TENSORFLOW = tuple(PROJECT / folder for folder in ("tests/unit", "tests/manifests", "src"))
"""Where `make unit` and `make manifests` find their tests."""


class NoTensorFlow:
    """Refuses the import, which takes seconds in each process: tests that need it are in tests/networks."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == "tensorflow":
            raise ImportError("unit tests do without TensorFlow; those that need it belong in tests/networks")


def is_refused(asked: Iterable[str]) -> bool:
    """Whether the tests `asked` for, as on pytest's command line, are to do without TensorFlow: unit tests alone."""
    paths = [Path(argument.partition("::")[0]).resolve() for argument in asked]
    return all(any(path.is_relative_to(folder) for folder in WITHOUT_TENSORFLOW) for path in paths)


def pytest_configure(config: pytest.Config) -> None:
    """Refuse TensorFlow, unless tests that need it run in the same process."""
    if is_refused(config.args):
        sys.meta_path.insert(0, NoTensorFlow())


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
    frame below in every loaded module: a minute a pipeline with pytest's frames.
    """
    from kfp.dsl import pipeline_task

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(pipeline_task, "inspect", SimpleNamespace(stack=callers))
        yield
