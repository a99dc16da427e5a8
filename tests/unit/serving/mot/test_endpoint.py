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


def leave_this_process_as_it_is(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Of what an endpoint sets for its whole process nothing is done; returns what was asked for, in time."""
    asked: list[str] = []
    monkeypatch.setattr(cv2, "setNumThreads", lambda count: asked.append(f"{count} thread"))
    monkeypatch.setattr(endpoint, "keep_frame_memory", lambda: asked.append("frame memory"))
    return asked


def test_its_process_decodes_on_one_thread_and_keeps_the_memory_of_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = leave_this_process_as_it_is(monkeypatch)
    endpoint.Endpoint(SimpleNamespace(), CONFIG).close()
    assert asked == ["1 thread", "frame memory"]


@pytest.mark.parametrize("text", [None, '{"confirm_hits": 2, "motion.measurement_std": 0.1}'])
def test_the_tracker_has_the_analyzers_settings(text: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[TrackerSettings] = []

    def sessions(detector: object, forecaster: object, settings: TrackerSettings, **_: Any) -> None:
        opened.append(settings)

    monkeypatch.setattr(endpoint, "StreamSessions", sessions)
    leave_this_process_as_it_is(monkeypatch)
    monkeypatch.delenv(TRACKER_VARIABLE, raising=False)
    if text is not None:
        monkeypatch.setenv(TRACKER_VARIABLE, text)
    endpoint.Endpoint(SimpleNamespace(), CONFIG)
    assert opened == [tracker_settings(AnalyzerSettings().tracker)]
    assert opened[0].confirm_hits == (TrackerSettings().confirm_hits if text is None else 2)
