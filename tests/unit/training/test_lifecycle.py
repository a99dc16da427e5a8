import subprocess
import sys


def test_what_trains_nothing_starts_without_tensorflow() -> None:
    code = """if True:
        import sys
        import pathcast.training.lifecycle
        # A search of the tracker's settings, recorded in MLflow.
        import pathcast.training.runs, pathcast.training.tracker_tuning, pathcast.training.tuning_runs
        from pathcast.training.family import BUILT_IN, find_family
        families = [find_family(name) for name in BUILT_IN]
        print(*{"tensorflow", "keras", "torch"} & set(sys.modules))
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
