"""Options that cannot do what they say are refused before anything is asked of the platform."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from pathcast.cli.main import app


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("drift", "--set", "days=14"), "--set: expected with --retrain"),
        (("drift", "--host", "http://kubeflow"), "--host: expected with --retrain"),
        (("drift", "--retrain", "--namespace", "team"), "--namespace: expected with --host"),
        (
            ("replay", "--since", "2026-03-01T12:00Z", "--until", "2026-03-01T12:00Z"),
            "--since: expected a time before --until",
        ),
    ],
)
def test_an_option_without_its_use_is_refused(arguments: tuple[str, ...], said: str) -> None:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert "".join(said.split()) in "".join(result.output.replace("│", "").split())
