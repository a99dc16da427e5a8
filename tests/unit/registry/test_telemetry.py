"""What this project uses tells nobody of it."""

import os
import subprocess
import sys


def test_mlflow_reports_nothing_to_its_makers() -> None:
    code = "import pathcast.registry.tracking, mlflow.telemetry as t; print(t.get_telemetry_client())"
    own = {name: value for name, value in os.environ.items() if name not in ("MLFLOW_DISABLE_TELEMETRY", "CI")}
    own = {name: value for name, value in own.items() if not name.startswith("PYTEST")}
    done = subprocess.run([sys.executable, "-c", code], env=own, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "None", done.stdout
