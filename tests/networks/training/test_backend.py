from __future__ import annotations

import subprocess
import sys


def test_tensorflow_says_nothing_when_it_is_loaded() -> None:
    code = "from pathcast.training.backend import use_tensorflow; use_tensorflow(); import keras; keras.ops.ones(3) + 1"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout + done.stderr == ""
