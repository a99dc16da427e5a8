"""The endpoint's files: those in the model repository are the package's."""

from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from pathcast.registry.mot import write_mot
from pathcast.serving.mot import FOLDER
from pathcast.serving.mot.endpoint import OUTPUTS

REPOSITORY = Path(__file__).parents[3] / "model_repo"


def files(folder):
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_the_model_repository_holds_what_is_published(tmp_path):
    write_mot(tmp_path)
    assert files(REPOSITORY / "mot") == files(tmp_path), "write it again: pathcast export mot"


def test_the_config_names_what_the_endpoint_answers():
    config = text_format.Parse((FOLDER / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())
    assert [tensor.name for tensor in config.output] == list(OUTPUTS)
    for tensor in config.output:
        empty = OUTPUTS[tensor.name](None)
        assert len(empty.shape) == len(tensor.dims)
        assert all(want in (-1, got) for want, got in zip(tensor.dims, empty.shape, strict=True))
    card = (FOLDER / "README.md").read_text()
    for tensor in (*config.input, *config.output):
        assert f"`{tensor.name}`" in card
