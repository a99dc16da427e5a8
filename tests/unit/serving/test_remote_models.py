from __future__ import annotations

from contextlib import nullcontext

import pytest

from pathcast.core.errors import InvalidInputError
from pathcast.serving.model_metadata import ModelMetadata, TensorSpec
from pathcast.serving.remote_models import require_fit


@pytest.mark.parametrize(
    ("inputs", "outputs", "fits"),
    [
        (["neighbours", "observed"], ["log_probs", "paths", "more"], True),
        (["observed"], ["log_probs", "paths"], False),
        (["neighbours", "observed", "map"], ["log_probs", "paths"], False),
        (["neighbours", "observed"], ["paths"], False),
    ],
)
def test_a_model_takes_what_the_analyzer_sends_and_gives_what_it_reads(
    inputs: list[str], outputs: list[str], fits: bool
) -> None:
    class Server:
        def metadata(self, model: str) -> ModelMetadata:
            spec = TensorSpec("FP32", (-1,))
            return ModelMetadata(model, ("7",), dict.fromkeys(inputs, spec), dict.fromkeys(outputs, spec))

    with (
        nullcontext() if fits else pytest.raises(InvalidInputError, match="model ahead, version 7: expected inputs obs")
    ):
        require_fit(Server(), "forecaster", "ahead")  # type: ignore[arg-type]
