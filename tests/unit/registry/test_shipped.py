"""What `pathcast models publish` refuses before anything is registered."""

import pytest

from pathcast.core.errors import InvalidInputError
from pathcast.core.settings import PlatformSettings
from pathcast.export.ensemble import CONFIG
from pathcast.export.triton_config import tensor_names
from pathcast.registry.shipped import FOLDER, publish_shipped
from pathcast.serving.remote_models import SIGNATURES


@pytest.mark.parametrize(
    ("model", "folder", "expected"),
    [
        ("signs", "forecaster", "inputs images and outputs probabilities, got neighbours, observed and"),
        ("actions", "signs", "inputs frames and outputs probabilities, frame_scores, got images and probabilities"),
        ("detector", "actions", "inputs images and outputs boxes, scores, classes, got frames and"),
        ("forecaster", "detector", "inputs observed, neighbours and outputs paths, log_probs, got images and"),
    ],
)
def test_the_folder_of_another_model_is_refused(model: str, folder: str, expected: str) -> None:
    nowhere = PlatformSettings.model_construct()
    with pytest.raises(InvalidInputError, match=f"model {model}: expected {expected}"):
        publish_shipped(nowhere, model, FOLDER / folder)


def test_the_folders_of_the_checkout_are_models_of_their_names() -> None:
    for model, signature in SIGNATURES.items():
        assert signature.misfit(*tensor_names((FOLDER / model / CONFIG).read_text(encoding="utf-8"))) is None
