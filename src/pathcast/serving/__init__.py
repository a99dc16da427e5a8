"""Serving; `pathcast.serving.StreamClient` is what a client of the endpoint needs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

# gRPC would tidy up in every child process, and take descriptors from one that is about to become ffmpeg.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

if TYPE_CHECKING:
    from pathcast.serving.stream_client import StreamClient

__all__ = ["StreamClient"]


def __getattr__(name: str) -> Any:
    """Import on demand: model processes use this package too, and have no gRPC client."""
    if name != "StreamClient":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from pathcast.serving.stream_client import StreamClient

    return StreamClient
