"""`pathcast data weights` on a served detector."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from pathcast.cli.label import SHIPPED
from pathcast.cli.main import app
from pathcast.core.errors import InvalidInputError
from pathcast.core.trained_model import TrainedModel
from pathcast.training.detector import served_weights


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["data", "weights", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_the_weights_of_a_served_file_are_taken_out_to_be_exported_anew(tmp_path: Path) -> None:
    said = run(SHIPPED, "--output", tmp_path / "again")
    assert "weights of a served detector, ready for --init" in " ".join(said.split())
    again, held = TrainedModel.load(tmp_path / "again", "detector"), served_weights(SHIPPED)
    assert again.settings == held.settings
    for name, values in held.weights.items():
        np.testing.assert_array_equal(again.weights[name], values)


@pytest.mark.parametrize("option", [("--size", "large"), ("--size", "nano"), ("--embedding", "64")])
def test_what_a_served_file_says_itself_is_not_asked_of_it(option: tuple[str, str], tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=f"{' '.join(option)}: expected a file that YOLOX publishes") as caught:
        run(SHIPPED, *option, "--output", tmp_path / "none")
    assert "leave it out" in str(caught.value.hint)
    assert not (tmp_path / "none").exists()
