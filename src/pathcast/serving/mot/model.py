"""Triton runs this file in a process of its own; what it does is in `pathcast.serving.mot.endpoint`."""

from __future__ import annotations

from typing import Any

import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found]

from pathcast.serving.mot.endpoint import Endpoint


class TritonPythonModel:
    """One instance: it holds the sequences that Triton gave to it."""

    def initialize(self, args: dict[str, str]) -> None:
        self._endpoint = Endpoint(pb_utils, args["model_config"])

    def execute(self, requests: list[Any]) -> list[Any]:
        return self._endpoint.execute(requests)

    def finalize(self) -> None:
        self._endpoint.close()
