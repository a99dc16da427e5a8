from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

GREETING = (
    "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\\n"
    "I0000 00:00:1 7 port.cc:153] oneDNN custom operations are on. You may see slightly different results\\n"
)


@pytest.mark.parametrize(("ends", "said"), [("", "later"), ("raise ImportError('broken')", "ImportError: broken")])
def test_tensorflow_is_loaded_without_its_greeting(tmp_path: Path, ends: str, said: str) -> None:
    (tmp_path / "tensorflow.py").write_text(
        f"import os\nos.write(2, b'''{GREETING}no GPU\n{GREETING}''')\n{ends}\n"
        "class config:\n    class threading:\n        get_intra_op_parallelism_threads = staticmethod(lambda: 0)\n"
    )
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
    code += "from pathcast.training.backend import use_tensorflow\nuse_tensorflow()\nprint('later', file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    first, *rest = done.stderr.splitlines()
    assert (first, rest[-1]) == ("no GPU", said)
    assert "oneDNN" not in done.stderr
    assert "absl" not in done.stderr
