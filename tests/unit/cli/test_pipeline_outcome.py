from __future__ import annotations

from datetime import timedelta

import pytest
from rich.console import Console

from pathcast.cli.pipeline_outcome import ModelOutcome
from pathcast.core.clock import SystemClock
from pathcast.core.settings import PlatformSettings
from pathcast.registry import publishing
from pathcast.registry.tracking import FailedRun


class Registry:
    """One version, the champion, and two failures: one of today's run and one of yesterday's."""

    def __init__(self, settings: PlatformSettings) -> None:
        self._now = SystemClock().now()

    def champion(self, model: str) -> int:
        return 3

    def newest(self, model: str) -> int:
        return 3

    def failures(self, model: str) -> list[FailedRun]:
        return [
            FailedRun(
                "validate_data", "too little data: train: expected 200, got 156", self._now + timedelta(seconds=1)
            ),
            FailedRun("export_onnx", "the store was away", self._now - timedelta(days=1)),
        ]


def test_a_run_that_made_no_version_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publishing, "ModelLifecycle", Registry)
    outcome = ModelOutcome(PlatformSettings.model_construct(), "forecaster")
    facts = {"pipeline": "train_model", "duration_s": 12.0, **outcome.facts()}
    assert facts["version"] is None
    assert facts["gates"] == {}
    assert facts["failures"] == {"validate_data": "too little data: train: expected 200, got 156"}
    console = Console(width=120, record=True)
    outcome.show(console, facts)
    said = console.export_text()
    assert "forecaster without a version" in said
    assert "validate_data" in said
    assert "expected 200, got 156" in said
    assert "the champion is still version 3" in said
