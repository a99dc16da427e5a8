from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
import pytest
from support.classifier_file import write_classifier

from pathcast.core.camera import Camera
from pathcast.core.detections import Detections
from pathcast.core.errors import InvalidInputError, ServiceUnavailableError
from pathcast.core.frame import Frame
from pathcast.core.observation import Observation
from pathcast.serving.blocks import BLOCK
from pathcast.serving.classifiers import Classifier, FileClassifier, open_classifier
from pathcast.serving.detection_classifier import DetectionClassifier, rows_by_model
from pathcast.serving.frame_analyzer import FrameAnalyzer
from pathcast.serving.remote_models import constant_velocity
from pathcast.tracking.settings import TrackerSettings

BOXES = [[0, 0, 20, 40], [20, 0, 40, 40], [40, 0, 60, 40]]


def scene(*levels: int) -> np.ndarray:
    """Upright stripes of these red levels, 20 pixels each."""
    image = np.zeros((40, 60, 3), np.uint8)
    image[..., 0] = np.repeat(levels, 20)
    return image


class Counting:
    """A classifier that remembers the sizes of its requests."""

    def __init__(self, file: Path, model: str) -> None:
        self._file, self.model, self.requests = FileClassifier(file), model, []
        self.side, self.classes = self._file.side, self._file.classes

    def classify(self, images: np.ndarray) -> tuple[np.ndarray, str]:
        self.requests.append(len(images))
        return self._file.classify(images)[0], "7"


@pytest.fixture
def models(tmp_path: Path) -> dict[str, Counting]:
    return {name: Counting(write_classifier(tmp_path / f"{name}.onnx"), name) for name in ("signs", "makes")}


@pytest.fixture
def classifier(models: dict[str, Counting]) -> DetectionClassifier:
    return DetectionClassifier(lambda model: models[model])


def test_a_version_of_another_size_is_asked_with_crops_of_that_size(tmp_path: Path) -> None:
    class Served(FileClassifier):
        """Refuses what the version that is served does not take."""

        def classify(self, images: np.ndarray) -> tuple[np.ndarray, str]:
            if images.shape[1] != served:
                raise InvalidInputError("unexpected shape")
            return super().classify(images)

    files = {side: write_classifier(tmp_path / f"{side}.onnx", side=side) for side in (48, 32)}
    classifier = DetectionClassifier(lambda model: Served(files[served]))
    asked = [({"*": "signs"}, Detections(BOXES[:1], [0.9], [0]), scene(5, 9, 14))]
    for side in (48, 32, 48):
        served = side
        ((said,),) = classifier.classify(asked)
        assert said.class_ids.tolist() == [5]


def test_each_model_is_asked_once_a_wave_and_answers_in_rows(
    classifier: DetectionClassifier, models: dict[str, Counting]
) -> None:
    found = Detections(BOXES, [0.9, 0.8, 0.7], [2, 0, 6])
    said = classifier.classify(
        [
            ({"car": "makes", "6": "signs"}, found, scene(5, 9, 14)),
            ({"*": "signs"}, found, scene(1, 2, 3)),
            ({"bus": "signs"}, found, scene(1, 2, 3)),
        ]
    )
    as_lists = [
        [(each.model, each.detection_indices.tolist(), each.class_ids.tolist()) for each in frame] for frame in said
    ]
    assert as_lists == [[("makes", [0], [5]), ("signs", [2], [14])], [("signs", [0, 1, 2], [1, 2, 3])], []]
    assert all((each.probabilities > 0.9).all() and each.model_version == "7" for frame in said for each in frame)
    # In whole blocks, so that a camera's answer does not depend on who else asks.
    assert models["signs"].requests == [2 * BLOCK]
    assert models["makes"].requests == [BLOCK]


def test_a_model_that_is_no_classifier_is_told() -> None:
    def find(name: str) -> Classifier:
        raise InvalidInputError(f"model {name}: no classifier")

    with pytest.raises(InvalidInputError, match="model signs: no classifier"):
        DetectionClassifier(find).classify([({"*": "signs"}, Detections(BOXES[:1], [1.0], [0]), scene(10, 20, 30))])


def test_an_unknown_class_is_told() -> None:
    with pytest.raises(InvalidInputError, match="'lorry': expected one of person, bicycle"):
        rows_by_model({"lorry": "signs"}, Detections(BOXES[:1], [1.0], [0]))


class _Nothing:
    def ready(self, model: str) -> bool:
        return False


def test_a_model_that_is_not_loaded_is_told() -> None:
    with pytest.raises(ServiceUnavailableError, match="model signs is not loaded, and a camera asks for it"):
        open_classifier(_Nothing(), "signs")  # type: ignore[arg-type]


class _Stripes:
    model = "detector"

    def detect(self, images: list[np.ndarray]) -> tuple[list[Detections], str]:
        return [Detections(BOXES, [0.9, 0.9, 0.9], [0, 2, 2]) for _ in images], "1"


class _Straight:
    served = False

    def forecast(self, observed: np.ndarray, neighbours: np.ndarray) -> object:
        return constant_velocity(observed)


def observed(classifier: Classifier, grouped: int) -> list[Observation]:
    cameras = {"road": Camera("road", classify={"car": "signs"}), "yard": Camera("yard")}
    analyzer = FrameAnalyzer(
        _Stripes(),
        _Straight(),
        cameras.__getitem__,
        lambda _: nullcontext(),
        TrackerSettings(),
        classifier,  # type: ignore[arg-type]
    )
    frames = []
    for number in range(4):
        image = cv2.imencode(".png", np.ascontiguousarray(scene(3, 40 - number, 14)[..., ::-1]))[1].tobytes()
        moment = datetime(2026, 3, 1, tzinfo=UTC) + timedelta(seconds=number)
        frames += [Frame(name, number, moment, 60, 40, image, "") for name in cameras]
    outcomes = [
        each for start in range(0, len(frames), grouped) for each in analyzer.analyze(frames[start : start + grouped])
    ]
    return [each for each in outcomes if isinstance(each, Observation)]


def test_a_camera_that_asks_has_its_detections_classified(classifier: DetectionClassifier) -> None:
    together, alone = observed(classifier, 8), observed(classifier, 1)
    assert len(together) == 8
    for one, other in zip(together, alone, strict=True):
        if one.camera_id == "yard":
            assert one.classifications == ()
            continue
        (said,), (again,) = one.classifications, other.classifications
        assert said.detection_indices.tolist() == [1, 2]
        assert said.class_ids.tolist() == [40 - one.sequence, 14]
        assert said.probabilities.tobytes() == again.probabilities.tobytes()
