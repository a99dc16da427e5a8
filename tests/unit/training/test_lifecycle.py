import subprocess
import sys


def test_a_step_that_trains_nothing_starts_without_tensorflow() -> None:
    code = "import sys, pathcast.training.lifecycle; print(*{'tensorflow', 'keras', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
