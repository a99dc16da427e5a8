from pathlib import Path

import pytest
from support.gtsrb import as_archive, write_gtsrb

from pathcast.core.errors import InvalidInputError
from pathcast.training.family import Selection, find_family
from pathcast.training.lifecycle import prepare_dataset, select_data
from pathcast.training.pipeline_step import whole_numbers
from pathcast.training.prepared import open_prepared, prepare


def selected(folder: Path, source: object) -> object:
    return select_data(None, "signs", folder, Selection((), 1.0, {"source": str(source)}))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["archive", "folder", "folder of the archive"])
def test_a_family_that_learns_from_files_is_given_them(tmp_path: Path, kind: str) -> None:
    whole = write_gtsrb(tmp_path / "set")
    (tmp_path / "packed").mkdir()
    archive = as_archive(whole, tmp_path / "packed" / "gtsrb.tar.gz")
    source = {"archive": archive, "folder": whole, "folder of the archive": archive.parent}[kind]
    card = selected(tmp_path / "raw", source)
    assert card == {"source": str(source), "samples": 1 if "archive" in kind else 37}
    assert prepare(find_family("signs"), tmp_path / "raw", tmp_path / "data").card["samples"]["test"] == 6


@pytest.mark.parametrize(
    ("source", "expectation"),
    [("missing", "no such file or folder"), ("empty", "found none"), ("s3://bucket", "expected s3://BUCKET/KEY")],
)
def test_a_source_without_files_is_told(tmp_path: Path, source: str, expectation: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidInputError, match=expectation):
        selected(tmp_path / "raw", source if source.startswith("s3:") else tmp_path / source)


@pytest.mark.parametrize("target", ["nowhere", ""])
def test_a_link_that_leads_nowhere_or_in_a_circle_is_named(tmp_path: Path, target: str) -> None:
    source = tmp_path / "set"
    source.mkdir()
    (source / "link").symlink_to(source / target)
    with pytest.raises(InvalidInputError, match=rf"{source}/link.*: cannot be copied: "):
        selected(tmp_path / "raw", source)


def test_what_a_run_writes_is_not_copied_into_itself(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("x\n")
    raw = tmp_path / ".pathcast" / "run" / "raw"
    with pytest.raises(InvalidInputError, match="expected a folder that the run does not write into") as caught:
        selected(raw, tmp_path)
    assert "a folder of its own" in str(caught.value.hint)
    assert [path.name for path in tmp_path.rglob("*.csv")] == ["data.csv"]


def test_without_a_source_the_way_to_one_is_shown(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="nothing that the platform stores is labelled for it") as caught:
        select_data(None, "signs", tmp_path / "raw", Selection((), 1.0))  # type: ignore[arg-type]
    assert "source" in str(caught.value.hint)


def test_whole_numbers_of_a_pipelines_options_are_whole_again(tmp_path: Path) -> None:
    # Kubeflow's parameters know one kind of number: a seed of 2 arrives as 2.0.
    write_gtsrb(tmp_path / "raw")
    prepare_dataset("signs", tmp_path / "raw", tmp_path / "data", {"seed": 2.0, "val": 0.5})
    assert open_prepared(tmp_path / "data", find_family("signs")).options == {"seed": 2, "val": 0.5}
    assert whole_numbers({"blocks": [1.0, 2.5], "name": "a", "on": True, "deep": {"n": 3.0}}) == {
        "blocks": [1, 2.5],
        "name": "a",
        "on": True,
        "deep": {"n": 3},
    }
    assert type(whole_numbers([3.0])[0]) is int
