"""Without the package, which is not among the project's own: what is said then."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pathcast.cli.main import app
from pathcast.core.errors import InvalidInputError


@pytest.mark.parametrize(
    "arguments",
    [("label", "clip.avi", "--teacher", "yolo.pt"), ("models", "import", "yolo.pt", "--family", "detector")],
)
def test_the_absence_of_the_package_is_a_clear_message(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ultralytics", None)
    with pytest.raises(InvalidInputError, match=r"yolo\.pt: an Ultralytics model needs .* not installed") as error:
        CliRunner().invoke(app, [*arguments, "--output", str(tmp_path)], catch_exceptions=False)
    assert "pathcast[yolo]" in str(error.value)
