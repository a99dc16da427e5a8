"""The training image, which is gigabytes: it knows the pipelines that the monitor starts."""

from pathlib import Path

import pytest

from tests.images.conftest import Workshop

pytestmark = pytest.mark.timeout(1800)


def test_the_training_image_compiles_the_pipelines(workshop: Workshop, tmp_path: Path) -> None:
    reference = workshop.build("pathcast-train")
    code = "from pathcast.cli.pipeline import NAMES, load_pipeline; print([load_pipeline(name).name for name in NAMES])"
    printed = workshop.run(reference, ["python", "-I", "-c", code], {}, tmp_path)
    assert "continuous-training" in printed
