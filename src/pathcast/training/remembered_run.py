"""A run of MLflow's that goes on with the work that it records, and never stops it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mlflow.exceptions import MlflowException, RestException

from pathcast.registry.tracking import translated

RUN_FILE = "mlflow_run.json"
_LOG = logging.getLogger(__name__)


class RememberedRun:
    """Which run it is stays in `folder`, so that `work` that is resumed goes on in it.

    `broken`: the server has failed on the way, which is warned about once; what comes after need not be tried.
    """

    def __init__(self, client: Any, folder: Path, work: str) -> None:
        self._client, self._file, self._work = client, folder / RUN_FILE, work
        self.broken = False

    def read(self) -> Mapping[str, Any]:
        """What was remembered, `run_id` above all; empty where nothing was, or MLflow has lost or deleted the run."""
        try:
            known: dict[str, Any] = json.loads(self._file.read_text(encoding="utf-8"))
            run = str(known["run_id"])
        except (OSError, ValueError, KeyError, TypeError):
            return {}
        try:
            found = self._client.get_run(run)
        except RestException:
            return {}
        return known if found.info.lifecycle_stage == "active" else {}

    def remember(self, run_id: str, **more: Any) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._file.write_text(json.dumps({"run_id": run_id, **more}) + "\n", encoding="utf-8")

    def forget(self) -> None:
        self._file.unlink(missing_ok=True)

    @contextmanager
    def tolerated(self) -> Iterator[None]:
        """Inside, MLflow may fail."""
        try:
            yield
        except MlflowException as error:
            self.broken = True
            _LOG.warning("MLflow misses the rest of this %s: %s", self._work, translated(error).message)
