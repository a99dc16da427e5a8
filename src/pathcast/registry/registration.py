"""What is registered with a model's file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from pathcast.registry.verdicts import SMOKE_TEST


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """A model's ONNX file with what is known about it; `card` is its page in Markdown.

    `data_card` says what it learned from; the lineage of its rows leads there. An `example` of the inputs by name gives
    the model its signature, and is what it is tried by. `weights` is the folder of the trained model, kept so that a
    later training can start from it. `gates` are those that it has to pass before it may serve.
    """

    onnx_path: Path
    card: str
    metrics: Mapping[str, float] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    data_card: Mapping[str, Any] = field(default_factory=dict)
    example: Mapping[str, NDArray[Any]] | None = None
    weights: Path | None = None
    gates: Sequence[str] = (SMOKE_TEST,)
