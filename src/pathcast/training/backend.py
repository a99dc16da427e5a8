"""Keras on TensorFlow, quiet and on a chosen number of threads; to be called before Keras is imported."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, cast

from pathcast.core.errors import PathcastError

_STDERR = 2
_GREETINGS = ("before absl::InitializeLog()", "oneDNN custom operations are on")


def use_tensorflow(threads: int = 0) -> None:
    """Make TensorFlow the backend of Keras, on `threads` CPU threads (0: one per core).

    Only the first call of a process can set the threads; PathcastError when TensorFlow is already at work on
    another number.
    """
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with _no_greeting():
        import tensorflow as tf

    threading = tf.config.threading
    if threading.get_intra_op_parallelism_threads() == threads:
        return
    try:
        threading.set_intra_op_parallelism_threads(threads)
        threading.set_inter_op_parallelism_threads(threads)
    except RuntimeError as error:
        raise PathcastError(
            f"TensorFlow already runs on {threading.get_intra_op_parallelism_threads() or 'all'} threads, "
            f"expected to set {threads or 'all'}",
            hint="choose the number of threads before the first use of a network",
        ) from error


@contextmanager
def _no_greeting() -> Iterator[None]:
    """Keep back what TensorFlow says when it is loaded, whatever its log level.

    The rest is passed on by a process of its own, which outlives this one where TensorFlow ends it.
    """
    grep = shutil.which("grep")
    if grep is None or sys.stderr is None:
        yield
        return
    sys.stderr.flush()
    kept = os.dup(_STDERR)
    command = [
        grep,
        "--line-buffered",
        "--invert-match",
        "--fixed-strings",
        *(f"--regexp={each}" for each in _GREETINGS),
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=kept) as passing:
        os.dup2(cast("IO[bytes]", passing.stdin).fileno(), _STDERR)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(kept, _STDERR)
            os.close(kept)
