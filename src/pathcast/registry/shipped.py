"""Models in their served form, as they come with the project or as `pathcast export` writes them, made to serve."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pathcast.core.errors import InvalidInputError
from pathcast.core.settings import PlatformSettings
from pathcast.export.ensemble import CONFIG, ONNX_FILE, check_folder
from pathcast.export.parity import Arrays, open_session
from pathcast.registry.publishing import publish_model
from pathcast.registry.registration import Registration
from pathcast.registry.repository import PublishedModel

FOLDER = Path(__file__).parents[3] / "model_repo"
"""They lie in the checkout, beside the package."""


def publish_shipped(settings: PlatformSettings, model: str, folder: Path | None = None) -> PublishedModel:
    """Register, publish, try and promote a model whose inputs are pixels or numbers.

    `folder` holds config.pbtxt, README.md and 1/model.onnx, the parts of an ensemble in or beside it; without one it
    is what comes with the project. Raises InvalidInputError where a file is missing, and as `publish_model` does.
    """
    place = folder or FOLDER / model
    path, config, card = place / ONNX_FILE, place / CONFIG, place / "README.md"
    if missing := [str(file) for file in (path, config, card) if not file.is_file()]:
        raise InvalidInputError(
            f"{model}: expected {', '.join(missing)}",
            hint="run it in the checkout, or serve a file of your own: pathcast models import --help",
        )
    text = check_folder(place)
    given = Registration(
        onnx_path=path,
        card=card.read_text(encoding="utf-8"),
        parameters={"source": "shipped" if folder is None else folder.name},
        example=noise(path),
    )
    return publish_model(settings, model, given, text)


def noise(path: Path) -> Arrays:
    """One sample of noise for each input of the file: bytes for pixels, else normal numbers."""
    random = np.random.default_rng(0)
    return {
        tensor.name: random.integers(0, 256, (1, *tensor.shape[1:]), dtype=np.uint8)
        if tensor.type == "tensor(uint8)"
        else random.normal(size=(1, *tensor.shape[1:])).astype(np.float32)
        for tensor in open_session(path).get_inputs()
    }
