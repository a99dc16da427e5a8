"""Stands in for Kubernetes' controllers and nodes: says that what was asked for is there, and Jobs have ended."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.apiserver.server import Json, Server

_KINDS = (
    ("apps/v1", "Deployment"),
    ("apps/v1", "StatefulSet"),
    ("batch/v1", "Job"),
    ("v1", "PersistentVolumeClaim"),
    ("v1", "Pod"),
)
_PERIOD_S = 0.2


@contextmanager
def controllers(server: Server, failing: str = "") -> Iterator[None]:
    """Until the block ends, all becomes as it should, but for Jobs whose name ends with `failing`."""
    ended = threading.Event()
    thread = threading.Thread(target=_control, args=(server, failing, ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(30)
        assert not thread.is_alive()


def _control(server: Server, failing: str, ended: threading.Event) -> None:
    while not ended.wait(_PERIOD_S):
        for version, kind in _KINDS:
            everywhere = server.place(version, kind, None)
            for found in server.ask("GET", everywhere)[1]["items"]:
                metadata = found["metadata"]
                status = _status(kind, found, fails=bool(failing) and metadata["name"].endswith(failing))
                if any(found.get("status", {}).get(key) != value for key, value in status.items()):
                    place = f"{server.place(version, kind, metadata['namespace'])}/{metadata['name']}/status"
                    code, answer = server.ask("PATCH", place, {"status": status}, "merge-patch+json")
                    # Deleted in between.
                    assert code in (200, 404), answer


def _status(kind: str, found: Json, *, fails: bool) -> Json:
    replicas = found.get("spec", {}).get("replicas", 1)
    generation = found["metadata"].get("generation")
    if kind == "Job":
        return {"conditions": [{"type": "Failed" if fails else "Complete", "status": "True"}]}
    if kind == "PersistentVolumeClaim":
        return {"phase": "Bound"}
    if kind == "Pod":
        return {"phase": "Succeeded"}
    ready = {name: replicas for name in ("replicas", "readyReplicas", "updatedReplicas", "availableReplicas")}
    if kind == "StatefulSet":
        revision = f"revision-{generation}"
        return {
            **ready,
            "currentReplicas": replicas,
            "observedGeneration": generation,
            "currentRevision": revision,
            "updateRevision": revision,
        }
    return {**ready, "observedGeneration": generation, "conditions": [{"type": "Available", "status": "True"}]}
