"""The Triton model `mot`: frames of a sequence in; boxes, identities, tracks and forecasts out.

`config.pbtxt`, `README.md` and `model.py` are the model's files in a repository. They hold no logic, so a new
version of Pathcast needs no new version of the model.
"""

from pathlib import Path

MODEL = "mot"
FOLDER = Path(__file__).parent
TRACKER_VARIABLE = "PATHCAST_ANALYZER_TRACKER"
"""The analyzer's tracker settings (JSON), in the environment of Triton: the endpoint sees what the analyzer sees."""
