from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

GREETING = (
    "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\\n"
    "I0000 00:00:1 7 port.cc:153] oneDNN custom operations are on. You may see slightly different results\\n"
)


def loading(folder: Path, body: str) -> list[str]:
    """The command of a process that loads a made-up TensorFlow."""
    (folder / "tensorflow.py").write_text(
        f"{body}\n"
        "class config:\n    class threading:\n        get_intra_op_parallelism_threads = staticmethod(lambda: 0)\n"
    )
    code = f"import sys; sys.path.insert(0, {str(folder)!r})\n"
    code += "from pathcast.training.backend import use_tensorflow\nuse_tensorflow()\nprint('later', file=sys.stderr)"
    return [sys.executable, "-c", code]


@pytest.mark.parametrize(
    ("ends", "said"),
    [("", "later"), ("raise ImportError('broken')", "ImportError: broken"), ("os.abort()", "no GPU")],
)
def test_tensorflow_is_loaded_without_its_greeting(tmp_path: Path, ends: str, said: str) -> None:
    done = subprocess.run(
        loading(tmp_path, f"import os\nos.write(2, b'''{GREETING}no GPU\n{GREETING}''')\n{ends}"),
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stderr.splitlines()
    assert (lines[0], lines[-1]) == ("no GPU", said)
    assert (done.returncode == 0) is (said == "later")
    assert "oneDNN" not in done.stderr
    assert "absl" not in done.stderr


def test_it_is_loaded_where_there_is_no_stderr(tmp_path: Path) -> None:
    closed = ["sh", "-c", 'exec "$@" 2>&-', "sh"]
    subprocess.run([*closed, *loading(tmp_path, "")], check=True)
