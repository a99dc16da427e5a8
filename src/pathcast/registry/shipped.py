"""Models that come with the project, served as they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pathcast.core.errors import GateFailedError, InvalidInputError
from pathcast.core.settings import PlatformSettings
from pathcast.export.parity import open_session
from pathcast.export.triton_config import check_config
from pathcast.registry.gates import Arrays, answers_gate
from pathcast.registry.publishing import publish_model
from pathcast.registry.registration import Registration
from pathcast.registry.repository import PublishedModel
from pathcast.serving.triton_client import TritonClient

FOLDER = Path(__file__).parents[3] / "model_repo"
"""They lie in the checkout, beside the package."""

_TOLERANCE = 1e-3


def publish_shipped(settings: PlatformSettings, model: str, folder: Path | None = None) -> PublishedModel:
    """Register, publish, load and smoke-test a model whose only inputs are images: live it must answer as its file.

    `folder` holds config.pbtxt, README.md and 1/model.onnx; without one it is what comes with the project.
    InvalidInputError where a file is missing, GateFailedError where the live answer is another.
    """
    place = folder or FOLDER / model
    path, config, card = place / "1" / "model.onnx", place / "config.pbtxt", place / "README.md"
    if missing := [str(file) for file in (path, config, card) if not file.is_file()]:
        raise InvalidInputError(f"{model}: expected {', '.join(missing)}", hint="run it in the checkout")
    text = config.read_text(encoding="utf-8")
    check_config(text, path)
    example = _noise(path)
    session = open_session(path)
    names = [tensor.name for tensor in session.get_outputs()]
    expected = dict(zip(names, session.run(names, dict(example)), strict=True))

    def smoke_test(client: TritonClient, served: str, version: str) -> None:
        verdict = answers_gate(client.infer(served, example, version=version).outputs, expected, _TOLERANCE)
        if not verdict.passed:
            raise GateFailedError(f"model {served} version {version}: {verdict.reason}")

    given = Registration(
        onnx_path=path, card=card.read_text(encoding="utf-8"), parameters={"source": "shipped"}, example=example
    )
    return publish_model(settings, model, given, text, smoke_test=smoke_test)


def _noise(path: Path) -> Arrays:
    """One image of noise for each input of the file."""
    random = np.random.default_rng(0)
    shapes = {tensor.name: tensor.shape for tensor in open_session(path).get_inputs()}
    return {name: random.integers(0, 256, (1, *shape[1:]), dtype=np.uint8) for name, shape in shapes.items()}
