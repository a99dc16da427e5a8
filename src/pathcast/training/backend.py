"""Keras on TensorFlow, quiet and on a chosen number of threads; to be called before Keras is imported."""

from __future__ import annotations

import os

from pathcast.core.errors import PathcastError


def use_tensorflow(threads: int = 0) -> None:
    """Make TensorFlow the backend of Keras, on `threads` CPU threads (0: one per core).

    Only the first call of a process can set the threads; PathcastError when TensorFlow is already at work on
    another number.
    """
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
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
