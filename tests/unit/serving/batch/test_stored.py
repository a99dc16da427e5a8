"""Results in the object store, which is a folder here: `s3://BUCKET/KEY` is the file KEY in it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pathcast.serving.batch import stored
from pathcast.serving.local_models import ConstantVelocity
from tests.unit.serving.batch.conftest import BrightDetector

TARGET = "s3://bucket/out"


class FolderStore:
    """What `pathcast.serving.batch.s3` does, with a folder."""

    SCHEME = "s3://"

    def __init__(self, folder: Path, clip: Path) -> None:
        self.folder, self._clip = folder, clip
        self.fetched_to = folder

    def fetch(self, client: None, address: str, folder: Path) -> Path:
        self.fetched_to = folder
        return self._clip

    def fetch_file(self, client: None, address: str, target: Path) -> bool:
        if self._at(address).is_file():
            shutil.copyfile(self._at(address), target)
        return self._at(address).is_file()

    def store(self, client: None, file: Path, address: str) -> None:
        self._at(address).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, self._at(address))

    def listed(self, client: None, address: str) -> tuple[str, dict[str, str]]:
        names = self.names_below(client, address)
        return "bucket", {f"{address.removeprefix('s3://bucket/')}/{name}": "" for name in names if "." in name}

    def names_below(self, client: None, address: str) -> list[str]:
        return [path.name for path in self._at(address).iterdir()]

    def remove(self, client: None, address: str) -> None:
        self._at(address).unlink(missing_ok=True)

    def _at(self, address: str) -> Path:
        return self.folder / address.removeprefix("s3://bucket/")


class Bench:
    """A store, a workspace, and models whose version tests choose."""

    def __init__(self, folder: Path, store: FolderStore) -> None:
        self.workspace, self.results = folder / "workspace", store.folder / "out" / "walkers"
        self.store = store
        self.detector, self.version = BrightDetector(), "1"

    def models(self, *_: object) -> tuple[BrightDetector, ConstantVelocity, tuple[str, ...]]:
        self.detector.version = self.version
        return self.detector, ConstantVelocity(), (f"bright {self.version}", "constant_velocity 1")

    def run(self, **options: object) -> dict[str, Any]:
        settings = SimpleNamespace(workspace=self.workspace, triton_grpc="", triton_shared_memory=False)
        return stored.analyse_video(settings, "s3://bucket/walkers", TARGET, fps=8.0, **options)  # type: ignore[arg-type]

    def files(self) -> set[str]:
        return {path.name for path in self.results.iterdir()}


@pytest.fixture
def bench(tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    store = FolderStore(tmp_path / "store", clip)
    bench = Bench(tmp_path, store)
    monkeypatch.setattr(stored, "s3", store)
    monkeypatch.setattr(stored, "object_store", lambda settings: None)
    monkeypatch.setattr(stored, "TritonClient", lambda *_, **__: nullcontext())
    monkeypatch.setattr(stored, "served_models", bench.models)
    yield bench
    assert not [path for path in (bench.workspace / "batch").iterdir() if path.is_dir()]


def test_what_is_done_is_not_repeated(bench: Bench) -> None:
    first = bench.run()
    assert first["models"][0] == "bright 1"
    assert "annotated.mp4" in bench.files()
    bench.detector = BrightDetector(fail_at_frame=0)
    assert bench.run()["rows"] == first["rows"]


def test_results_of_another_model_or_setting_are_replaced(bench: Bench) -> None:
    bench.run()
    bench.version = "2"
    again = bench.run(annotate=False)
    assert again["models"][0] == "bright 2"
    assert "annotated.mp4" not in bench.files()
    bench.detector = BrightDetector(fail_at_frame=0)
    assert bench.run(annotate=False)["models"][0] == "bright 2"


@pytest.mark.parametrize("damaged", ['{"run": "', "[]"])
def test_a_damaged_report_is_made_again(bench: Bench, damaged: str) -> None:
    first = bench.run()
    (bench.results / "batch.json").write_text(damaged)
    assert bench.run()["rows"] == first["rows"]


def test_images_have_the_name_of_their_folder(bench: Bench) -> None:
    """That of the camera and the source, which are called after where they lie here."""
    bench.run()
    assert bench.store.fetched_to.name == "walkers"


def test_what_is_no_video_is_logged(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    recordings = bench.store.folder / "recordings"
    recordings.mkdir(parents=True)
    for name in ("a.mp4", "b.ts", "c.ogv", "a.json"):
        (recordings / name).touch()
    (bench.workspace / "batch").mkdir(parents=True)
    found = stored.find_videos(SimpleNamespace(), ["s3://bucket/recordings"])  # type: ignore[arg-type]
    assert sorted(found) == ["s3://bucket/recordings/a.mp4", "s3://bucket/recordings/b.ts"]
    assert "s3://bucket/recordings: files left out: c.ogv" in caplog.text


def test_results_that_were_removed_are_made_again(bench: Bench) -> None:
    bench.run()
    shutil.rmtree(bench.results)
    bench.version = "2"
    bench.run()
    assert "batch.json" in bench.files()
