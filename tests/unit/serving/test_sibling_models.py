"""What a model finds out about its siblings, on a stand-in for Triton's module with the answers of Triton 2.51."""

from types import SimpleNamespace

import numpy as np
import pytest

from pathcast.core.errors import InvalidInputError, PathcastError, ServiceUnavailableError
from pathcast.serving.model_metadata import TensorSpec
from pathcast.serving.sibling_models import SiblingModels

SIZE = 416
NOT_READY = (
    "Model {} - Error when running inference: Failed for execute the inference request. Model '{}' is not ready."
)
WRONG_SHAPE = (
    "Model {} - Error when running inference: [request id: <id_unknown>] unexpected shape for input 'images' for model "
    "'{}'. Expected [-1,{},{},3], got {}. NOTE: Setting a non-zero max_batch_size in the model config requires a batch "
    "dimension to be prepended to each input shape."
)


class Tensor:
    def __init__(self, name, array):
        self._name, self._array = name, array

    def name(self):
        return self._name

    def as_numpy(self):
        return self._array


class Server:
    """`versions` says which are loaded of each model; the models answer with the mean of their images."""

    Tensor = Tensor

    def __init__(self, **versions):
        self.versions = versions
        self.broken = False
        self.asked = []

    def is_model_ready(self, model, version=""):
        loaded = self.versions.get(model, ())
        return bool(loaded) if version == "" else int(version) in loaded

    def InferenceRequest(self, model_name, model_version, requested_output_names, inputs):  # noqa: N802
        assert requested_output_names == []
        return SimpleNamespace(exec=lambda: self._answer(model_name, model_version, inputs))

    def _answer(self, model, version, inputs):
        self.asked.append(version)
        if version not in self.versions.get(model, ()):
            return failure(NOT_READY.format(model, model))
        if self.broken:
            return failure("Stub process 'detector_0_0' is not healthy.")
        images = inputs[0].as_numpy()
        if images.shape[1:] != (SIZE, SIZE, 3):
            shape = str(list(images.shape)).replace(" ", "")
            return failure(WRONG_SHAPE.format(model, model, SIZE, SIZE, shape))
        mean = images.mean(axis=(1, 2, 3))
        return SimpleNamespace(has_error=lambda: False, output_tensors=lambda: [Tensor("mean", mean)])


def failure(message):
    return SimpleNamespace(has_error=lambda: True, error=lambda: SimpleNamespace(message=lambda: message))


def frames(value=5):
    return {"images": np.full((2, SIZE, SIZE, 3), value, np.uint8)}


@pytest.mark.parametrize(("versions", "newest"), [((1,), "1"), ((3, 7), "7"), ((512,), "512")])
def test_the_newest_version_answers(versions, newest):
    server = Server(detector=versions)
    answer = SiblingModels(server).infer("detector", frames())
    assert answer.model_version == newest
    assert answer.outputs["mean"].tolist() == [5, 5]
    assert server.asked == [int(newest)]


def test_a_new_version_is_found_when_the_old_one_goes():
    server = Server(detector=(1,))
    models = SiblingModels(server)
    assert [models.infer("detector", frames()).model_version for _ in range(2)] == ["1", "1"]
    server.versions["detector"] = (2,)
    assert models.infer("detector", frames()).model_version == "2"
    assert server.asked == [1, 1, 1, 2]


def test_the_size_of_images_is_what_a_wrong_request_is_told():
    metadata = SiblingModels(Server(detector=(4,))).metadata("detector")
    assert metadata.inputs == {"images": TensorSpec("UINT8", (-1, SIZE, SIZE, 3))}
    assert metadata.versions == ("4",)


def test_failures_are_told_apart():
    server = Server(detector=(1,))
    models = SiblingModels(server)
    with pytest.raises(InvalidInputError, match="unexpected shape"):
        models.infer("detector", {"images": np.zeros((1, 2, 2, 3), np.uint8)})
    server.broken = True
    with pytest.raises(ServiceUnavailableError, match="not healthy"):
        models.infer("detector", frames())
    with pytest.raises(ServiceUnavailableError, match="not healthy"):
        models.metadata("detector")
    server.versions = {}
    for ask in (lambda: models.infer("detector", frames()), lambda: models.metadata("detector")):
        with pytest.raises(ServiceUnavailableError, match="model detector is not served"):
            ask()
    assert not models.ready("detector")


def test_a_model_that_takes_any_size_is_refused(monkeypatch):
    monkeypatch.setitem(globals(), "SIZE", 1)
    with pytest.raises(PathcastError, match="which size of images"):
        SiblingModels(Server(detector=(1,))).metadata("detector")
