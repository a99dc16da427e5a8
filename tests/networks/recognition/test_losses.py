import numpy as np
import pytest
from keras import losses, ops

from pathcast.core.errors import InvalidInputError
from pathcast.recognition.losses import classification_loss

LOGITS = np.array([[2.0, 0.5, -1.0], [0.1, 0.2, 0.3]], np.float32)
TARGETS = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], np.float32)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_is_the_libraries(smoothing: float) -> None:
    reference = losses.CategoricalCrossentropy(from_logits=True, label_smoothing=smoothing)
    assert float(classification_loss(LOGITS, TARGETS, "cross_entropy", smoothing)) == pytest.approx(
        float(reference(TARGETS, LOGITS)), rel=1e-5
    )


def test_focal_is_the_libraries_and_weighs_the_easy_less() -> None:
    reference = losses.CategoricalFocalCrossentropy(from_logits=True, alpha=1.0, gamma=2.0)
    assert float(classification_loss(LOGITS, TARGETS, "focal")) == pytest.approx(
        float(ops.mean(reference(TARGETS, LOGITS))), rel=1e-5
    )
    easy, hard = LOGITS[:1] * 5, LOGITS[1:]
    ratios = [
        float(classification_loss(logits, target, "focal"))
        / float(classification_loss(logits, target, "cross_entropy"))
        for logits, target in ((easy, TARGETS[:1]), (hard, TARGETS[1:]))
    ]
    assert ratios[0] < 0.01 < 0.3 < ratios[1]


def test_shares_of_two_classes_are_targets_too() -> None:
    half = np.array([[0.5, 0.5, 0.0]], np.float32)
    log = LOGITS[:1] - np.log(np.exp(LOGITS[:1]).sum())
    assert float(classification_loss(LOGITS[:1], half, "cross_entropy")) == pytest.approx(-log[0, :2].mean(), rel=1e-5)


@pytest.mark.parametrize(("loss", "smoothing"), [("hinge", 0.0), ("cross_entropy", 1.0), ("focal", -0.1)])
def test_an_unknown_loss_is_told(loss: str, smoothing: float) -> None:
    with pytest.raises(InvalidInputError, match="expected one of cross_entropy, focal"):
        classification_loss(LOGITS, TARGETS, loss, smoothing)
