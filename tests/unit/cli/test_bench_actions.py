"""`pathcast bench actions`: windows of a video by the people in them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from pathcast.cli.main import app
from pathcast.core.errors import InvalidInputError
from tests.support.clips import write_brightness_model, write_video


def bench(folder: Path, seconds: int, people: list[int]) -> list[dict[str, Any]]:
    """Run it on a video of 10 frames/s; `people` are seen in every frame of the seconds."""
    model = write_brightness_model(folder / "actions")
    write_video(folder / "clip.avi", np.full((10 * seconds, 16, 16, 3), 90, np.uint8))
    rows = [
        f"{frame},{person},0,0,4,8,1,-1,-1,-1"
        for frame in range(1, 10 * seconds + 1)
        for person in range(1, people[(frame - 1) // 10] + 1)
    ]
    (folder / "gt.txt").write_text("\n".join(rows) + "\n")
    command = ["bench", "actions", "--video", str(folder / "clip.avi"), "--people", str(folder / "gt.txt")]
    command += ["--model", str(model), "--fps", "10", "--rounds", "1", "--json", str(folder / "rows.json")]
    done = CliRunner().invoke(app, command, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return list(json.loads((folder / "rows.json").read_text())["rows"])


def test_windows_are_grouped_by_the_people_in_view(tmp_path: Path) -> None:
    rows = bench(tmp_path, 6, [3, 1, 2, 3, 1, 2])
    assert [row["name"] for row in rows] == ["1.0 people in view", "2.0 people in view", "3.0 people in view"]
    assert {row["unit"] for row in rows} == {"ms/clip"}
    assert all(row["value"] > 0 for row in rows)
    assert rows[0]["ratio"] is None
    assert rows[2]["ratio"] == pytest.approx(rows[2]["value"] / rows[0]["value"])


def test_a_video_too_short_for_groups_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="expected 3 windows or more, got 2"):
        bench(tmp_path, 2, [1, 1])
