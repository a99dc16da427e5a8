from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import cv2
import pytest

from pathcast.messaging.analyzer import AnalyzerSettings
from pathcast.serving.mot import TRACKER_VARIABLE, endpoint
from pathcast.tracking.settings import TrackerSettings, tracker_settings

CONFIG = json.dumps({"max_batch_size": 8, "sequence_batching": {"max_sequence_idle_microseconds": 60_000_000}})


@pytest.mark.parametrize("text", [None, '{"confirm_hits": 2, "motion.measurement_std": 0.1}'])
def test_the_tracker_has_the_analyzers_settings(text: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[TrackerSettings] = []

    def sessions(detector: object, forecaster: object, settings: TrackerSettings, **_: Any) -> None:
        opened.append(settings)

    monkeypatch.setattr(endpoint, "StreamSessions", sessions)
    monkeypatch.setattr(cv2, "setNumThreads", lambda count: None)
    monkeypatch.delenv(TRACKER_VARIABLE, raising=False)
    if text is not None:
        monkeypatch.setenv(TRACKER_VARIABLE, text)
    endpoint.Endpoint(SimpleNamespace(), CONFIG)
    assert opened == [tracker_settings(AnalyzerSettings().tracker)]
    assert opened[0].confirm_hits == (TrackerSettings().confirm_hits if text is None else 2)
