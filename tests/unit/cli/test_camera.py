"""What `pathcast camera` says of models that cameras ask."""

from __future__ import annotations

import socket

import pytest

from pathcast.cli.camera import warn_of_missing
from pathcast.core.settings import PlatformSettings


def test_a_triton_that_does_not_answer_is_not_one_that_lacks_the_model(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        address = f"127.0.0.1:{held.getsockname()[1]}"
    warn_of_missing(PlatformSettings.model_construct(triton_grpc=address), ["signs"])
    said = "".join(capsys.readouterr().err.split())
    assert "".join(f"signs: it is not known whether it is served: Triton at {address}".split()) in said
