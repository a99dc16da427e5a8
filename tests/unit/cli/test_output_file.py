from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from pathcast.cli.output_file import file_option, write_json


@pytest.fixture
def command() -> typer.Typer:
    app = typer.Typer()

    @app.command()
    def count(json: Path | None = file_option("Write the figures to this file.")) -> None:
        typer.echo("counted")
        write_json(json, {"count": 3, "share": float("nan")})

    return app


def test_figures_are_written_into_a_new_folder(command: typer.Typer, tmp_path: Path) -> None:
    file = tmp_path / "new" / "deep" / "figures.json"
    done = CliRunner().invoke(command, ["--json", str(file)])
    assert (done.exit_code, done.output) == (0, "counted\n")
    assert json.loads(file.read_text()) == {"count": 3, "share": None}


@pytest.mark.parametrize("name", ["", "file/figures.json"], ids=["a folder", "below a file"])
def test_what_cannot_be_written_is_told_before_the_work(command: typer.Typer, tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    done = CliRunner().invoke(command, ["--json", str(tmp_path / name)])
    assert done.exit_code == 2
    assert "Invalid value for '--json'" in done.output
    assert "counted" not in done.output


def test_without_a_file_nothing_is_written(
    command: typer.Typer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with contextlib.chdir(tmp_path):
        assert CliRunner().invoke(command, []).exit_code == 0
    assert list(tmp_path.iterdir()) == []
