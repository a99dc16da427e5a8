"""Every layout of trajectories: what is read, and what is said of a bad file."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pathcast.core import InvalidInputError
from pathcast.forecasting.data_card import DataCard
from pathcast.forecasting.grid import sample_on_grid
from pathcast.forecasting.quality import TrackQuality
from pathcast.forecasting.sources import read_scenes, read_tracks

DATA = Path(os.environ.get("PATHCAST_DATA", Path(__file__).parents[4] / "shared" / "data"))
ALL = TrackQuality(min_steps=1, max_speed_per_s=float("inf"))
SEQINFO = "[Sequence]\nname=Square\nframeRate=5\nseqLength=100\nimWidth=200\nimHeight=100\n"


def files(root: Path, contents: dict[str, str]) -> Path:
    for name, text in contents.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


def walk(frames: range, identity: int = 1, separator: str = "\t") -> str:
    return "".join(separator.join(map(str, (frame, identity, frame * 0.1, -1.0))) + "\n" for frame in frames)


def truth(frames: range, tail: str = "1,-1,-1,-1", identity: int = 1) -> str:
    return "".join(f"{frame},{identity},{10 * frame},20,20,30,{tail}\n" for frame in frames)


def ndjson(frames: range, fps: float | None = 2.5) -> str:
    scene = {"scene": {"id": 0, "p": 1, "s": 0, "e": 0, **({} if fps is None else {"fps": fps})}}
    rows = [{"track": {"f": frame, "p": 1, "x": frame * 0.1, "y": -1.0}} for frame in frames]
    return "".join(msgspec.json.encode(each).decode() + "\n" for each in [scene, *rows])


LAYOUTS = [
    pytest.param({"all_data/square.txt": walk(range(0, 300, 10))}, "eth_ucy", "m", 30, (1.0, -1.0), id="eth-ucy"),
    pytest.param({"a/train.txt": walk(range(0, 180, 6))}, "trajnet_text", "m", 30, (0.6, -1.0), id="text"),
    pytest.param({"a.txt": walk(range(0, 300, 10), separator=",")}, "trajnet_text", "m", 30, (1.0, -1.0), id="commas"),
    pytest.param({"b.ndjson": ndjson(range(0, 240, 8))}, "trajnet_ndjson", "m", 30, (0.8, -1.0), id="ndjson"),
    pytest.param({"b.ndjson": ndjson(range(0, 240, 8), None)}, "trajnet_ndjson", "m", 30, (0.8, -1.0), id="no-fps"),
    # Rows at 5 Hz are two a step.
    pytest.param({"b.ndjson": ndjson(range(0, 240, 4), 5)}, "trajnet_ndjson", "m", 30, (0.8, -1.0), id="ndjson-5-hz"),
    # Frames 1 … 60 at 5 Hz hold the steps 1 … 30 at frames 2, 4, …; the box's foot is (10 f + 10, 50) px.
    pytest.param(
        {"s/seqinfo.ini": SEQINFO, "s/gt/gt.txt": truth(range(1, 61))}, "mot", "frame_heights", 30, (0.5, 0.5), id="mot"
    ),
    pytest.param(
        {"s/seqinfo.ini": SEQINFO, "s/gt/gt.txt": truth(range(1, 61), "1,3.5,-2,0")},
        *("mot", "m", 30, (3.5, -2.0)),
        id="mot-world",
    ),
    pytest.param(
        {"s/seqinfo.ini": SEQINFO, "s/gt/gt.txt": truth(range(1, 61), "1,3.5,-2,0.7")},
        *("mot", "frame_heights", 30, (0.5, 0.5)),
        id="mot-world-above-the-ground",
    ),
    pytest.param(
        {"s/seqinfo.ini": SEQINFO, "s/gt/gt.txt": truth(range(1, 61), "1,1,0.9") + truth(range(1, 61), "0,1,1", 2)},
        *("mot", "frame_heights", 30, (0.5, 0.5)),
        id="mot16-with-unused-boxes",
    ),
]


MARKED = [({name: f"\ufeff{text}" for name, text in case.values[0].items()}, *case.values[1:]) for case in LAYOUTS[:7]]
"""The same with the byte order mark that Windows' editors write."""


@pytest.mark.parametrize(("contents", "layout", "units", "length", "second"), [*LAYOUTS, *MARKED])
def test_the_layout_is_recognised_by_its_content(
    tmp_path: Path, contents: dict[str, str], layout: str, units: str, length: int, second: tuple[float, float]
) -> None:
    (found,), _, card = read_tracks(files(tmp_path, contents))
    assert (card.layout, card.units, found.units, found.track_id, len(found)) == (layout, units, units, 1, length)
    np.testing.assert_allclose(found.positions[1], second, atol=1e-9)
    assert (card.tracks, card.trajectories, card.windows, card.drops) == (1, 1, length - 19, ())


def test_one_file_and_its_folder_are_the_same_track(tmp_path: Path) -> None:
    contents = {"s/seqinfo.ini": SEQINFO, "s/gt/gt.txt": truth(range(1, 61)), "t/a.txt": walk(range(25))}
    files(tmp_path, contents)
    for one, other in (("s", "s/gt/gt.txt"), ("t", "t/a.txt")):
        (first,), *_ = read_tracks(tmp_path / one)
        (second,), *_ = read_tracks(tmp_path / other)
        assert first.positions.tolist() == second.positions.tolist()


def test_recordings_with_the_same_ids_stay_apart(tmp_path: Path) -> None:
    found, _, card = read_tracks(files(tmp_path, {"a/x.txt": walk(range(20)), "b/x.txt": walk(range(20))}))
    assert [each.camera_id for each in found] == ["a/x", "b/x"]
    assert (card.tracks, [each.name for each in card.recordings]) == (2, ["a/x", "b/x"])


@pytest.mark.parametrize(("rate", "frames", "steps"), [(25.0, range(0, 250), 25), (7.0, range(0, 70), 25)])
def test_text_at_a_frame_rate_is_resampled(tmp_path: Path, rate: float, frames: range, steps: int) -> None:
    source = files(tmp_path, {"a.txt": walk(frames)})
    (found,), _, card = read_tracks(source, frame_rate=rate)
    expected = np.arange(steps) * 0.4 * rate * 0.1
    np.testing.assert_allclose(found.positions[:, 0], expected, atol=1e-9)
    assert card.selection["frame_rate_hz"] == rate


BAD = [
    ({"a.txt": ""}, "a.txt: expected rows of frame, id, x, y, got an empty file"),
    ({"a.txt": "\n \n"}, "a.txt: expected rows of frame, id, x, y, got an empty file"),
    ({"a.txt": "0 1 2\n"}, r"a.txt row 1: expected 4 columns \(frame, id, x, y\), got 3"),
    ({"a.txt": "0 1 2 3\n\n1 1 2 3 4\n"}, "a.txt row 3: expected 4 columns .*, got 5"),
    ({"a.txt": "0 1 2 3\n1 1 nan 3\n"}, "a.txt row 2: x: expected a finite number, got 'nan'"),
    ({"a.txt": "0 1 2 -inf\n"}, "a.txt row 1: y: expected a finite number, got '-inf'"),
    ({"a.txt": "0 one 2 3\n"}, "a.txt row 1: id: expected a finite number, got 'one'"),
    ({"a.txt": "0.5 1 2 3\n"}, "a.txt row 1: frame: expected a whole number, got 0.5"),
    (
        {"a.txt": "0 1 2 3\n10 1 2 3\n10 2 2 3\n10 1 2 4\n"},
        "row 4: expected one row per frame for id 1, frame 10 is also in row 2",
    ),
    (
        {"a.txt": walk(range(0, 300, 10)) + "303\t1\t0\t0\n"},
        "row 31: expected id 1 at multiples of 10 frames after frame 290, got frame 303",
    ),
    ({"a.txt": walk(range(0, 50, 10))}, "empty selection: .*shorter than 20 steps: 1"),
    ({"all_data/a.csv": "x"}, r"all_data: expected files \*.txt, got none"),
    ({"all_data/a.txt": "0\t1\t2\tnan\n"}, "a.txt row 1: y: expected a finite number, got 'nan'"),
    (
        {"all_data/a.txt": "0\t1\t2\t3\n7\t1\t2\t3\n"},
        "row 2: expected id 1 at multiples of 10 frames after frame 0, got frame 7",
    ),
    ({"a.md": "x"}, r"no trajectories in this folder: expected a folder with all_data/ \(ETH/UCY\)"),
    ({"a.ndjson": "{}\n"}, r'a.ndjson row 1: expected \{"track"'),
    ({"a.ndjson": "nope\n"}, "a.ndjson row 1: expected a JSON object"),
    ({"a.ndjson": '{"scene": {"id": 1, "fps": 2.5}}\n'}, "got scenes only"),
    ({"a.ndjson": '{"track": {"f": 1, "p": 1, "x": 0}}\n'}, "row 1: track: expected the keys f, p, x, y, got no y"),
    ({"a.ndjson": '{"track": {"f": 1, "p": 1, "x": 0, "y": null}}\n'}, "row 1: y: expected a finite number, got None"),
    ({"a.ndjson": ndjson(range(20)) + ndjson(range(20, 40), 5)}, "scenes of one fps, got 2.5 in row 1, 5 in row 22"),
    ({"a.ndjson": ndjson(range(3), 0)}, "expected a finite rate of 0.001 Hz or more, got 0"),
    ({"a.txt/b.md": ""}, "a.txt: cannot be read: Is a directory"),
    ({"s/seqinfo.ini": SEQINFO}, "gt.txt: no such file"),
    (
        {"s/seqinfo.ini": "[Sequence]\nframeRate=7\n", "s/gt/gt.txt": truth(range(9))},
        "seqinfo.ini: expected .*imHeight",
    ),
    (
        {"s/seqinfo.ini": SEQINFO.replace("=5", "=0"), "s/gt/gt.txt": truth(range(9))},
        "frameRate: expected a number above 0, got 0",
    ),
    (
        {"s/seqinfo.ini": SEQINFO.replace("=5", "=1e-300"), "s/gt/gt.txt": truth(range(1, 9))},
        "seqinfo.ini: expected a finite rate of 0.001 Hz or more, got 1e-300",
    ),
    ({"s/seqinfo.ini": "imHeight=3\n", "s/gt/gt.txt": truth(range(9))}, r"seqinfo.ini: expected \[Sequence\]"),
    ({"s/seqinfo.ini": SEQINFO, "s/gt/gt.txt": "1,1,2,3,4,5\n"}, "gt.txt row 1: expected 7 or more columns .*, got 6"),
    ({"s/seqinfo.ini": SEQINFO, "s/gt/gt.txt": "1,1,2,3,nan,5,1\n"}, "row 1: width: expected a finite number"),
    (
        {"s/seqinfo.ini": SEQINFO, "s/gt/gt.txt": "1,1,2,3,0,5,1\n"},
        "row 1: expected a width and a height above 0, got 0",
    ),
    (
        {"s/seqinfo.ini": SEQINFO, "s/gt/gt.txt": "1,-1,2,3,4,5,1\n"},
        "row 1: expected a frame and an id above 0, got 1 and -1",
    ),
    ({"s/seqinfo.ini": SEQINFO, "s/gt/gt.txt": "1,1,2,3,4,5,0\n"}, "rows with a flag above 0, got 1 rows with 0"),
    (
        {"s/seqinfo.ini": SEQINFO, "s/gt/gt.txt": "1,1,2,3,4,5,1\n2,1,2,3,4,5,1\n2,1,2,3,4,5,1\n"},
        "row 3: expected one row per frame for id 1, frame 2 is also in row 2",
    ),
    (
        {
            "s/seqinfo.ini": SEQINFO,
            "s/gt/gt.txt": truth(range(1, 61)),
            "t/seqinfo.ini": SEQINFO,
            "t/gt/gt.txt": truth(range(1, 61), "1,3.5,-2,0"),
        },
        "expected trajectories in one unit, got s: frame_heights; t: m",
    ),
]


@pytest.mark.parametrize(("contents", "message"), BAD)
def test_bad_data_names_file_row_and_expectation(tmp_path: Path, contents: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message) as error:
        read_tracks(files(tmp_path, contents))
    assert str(tmp_path) in str(error.value)


def test_files_that_cannot_be_read_as_asked(tmp_path: Path) -> None:
    cases = [
        (tmp_path / "none", None, "no such file or folder"),
        (
            files(tmp_path, {"gt.txt": truth(range(1, 61))}) / "gt.txt",
            None,
            "expected at gt/gt.txt in a folder with seqinfo.ini",
        ),
        (
            files(tmp_path, {"a.txt": walk(range(30))}) / "a.txt",
            0.0,
            "expected a finite rate of 0.001 Hz or more, got 0",
        ),
        (
            files(tmp_path, {"b.ndjson": ndjson(range(30))}) / "b.ndjson",
            7.0,
            "trajnet_ndjson layout has its own frame rate",
        ),
    ]
    (tmp_path / "c.txt").write_bytes(b"\xff\xfe\x00")
    for source, rate, message in [*cases, (tmp_path / "c.txt", None, "expected a text file")]:
        with pytest.raises(InvalidInputError, match=message):
            read_tracks(source, frame_rate=rate)


def test_gaps_split_and_drops_are_counted(tmp_path: Path) -> None:
    rows = walk(range(0, 250, 10)) + walk(range(300, 400, 10)) + walk(range(0, 190, 10), 2)
    found, _, card = read_tracks(files(tmp_path, {"a.txt": rows}))
    assert [(each.track_id, each.first_step, len(each)) for each in found] == [(1, 0, 25)]
    assert [(drop.reason, drop.trajectories, drop.steps) for drop in card.drops] == [("shorter than 20 steps", 2, 29)]
    everything, *_ = read_tracks(tmp_path, quality=ALL)
    assert [(each.track_id, each.first_step, len(each)) for each in everything] == [(1, 0, 25), (1, 30, 10), (2, 0, 19)]


def test_who_is_not_chosen_is_still_a_neighbour(tmp_path: Path) -> None:
    rows = walk(range(0, 250, 10)) + walk(range(0, 90, 10), 2)
    chosen, everyone, _ = read_tracks(files(tmp_path, {"a.txt": rows, "b.txt": walk(range(0, 200, 10))}))
    assert ([each.track_id for each in chosen], [each.track_id for each in everyone]) == ([1, 1], [1, 2, 1])
    scenes = read_scenes(tmp_path)
    assert scenes["a"].neighbours[..., 4].sum(axis=1).tolist() == [1, 1, 0, 0, 0, 0]
    assert not scenes["b"].neighbours.any()


def test_a_gap_that_is_bridged_was_not_seen(tmp_path: Path) -> None:
    # At 5 Hz frames 2, 4, … are steps 1, 2, …; frames 11 to 16 hold the steps 6, 7 and 8.
    rows = truth(range(1, 11)) + truth(range(17, 61))
    (found,), *_ = read_tracks(files(tmp_path, {"seqinfo.ini": SEQINFO, "gt/gt.txt": rows}))
    assert (found.first_step + np.flatnonzero(~found.seen)).tolist() == [6, 7]


def test_scenes_are_recordings(tmp_path: Path) -> None:
    contents = {"a/x.txt": walk(range(25)), "b.txt": walk(range(21)) + walk(range(20), 2), "c.txt": walk(range(5))}
    scenes = read_scenes(files(tmp_path, contents))
    assert {name: len(windows) for name, windows in scenes.items()} == {"a/x": 6, "b": 3}


@pytest.mark.skipif(not (DATA / "eth_ucy").is_dir(), reason=f"{DATA}/eth_ucy is not there; PATHCAST_DATA names it")
def test_scenes_of_eth_ucy_are_the_published_five() -> None:
    counts = {name: len(windows) for name, windows in read_scenes(DATA / "eth_ucy").items()}
    assert counts == {"eth": 364, "hotel": 1197, "univ": 24334, "zara1": 2356, "zara2": 5910}


def test_the_card_is_the_same_after_json_and_tells_its_figures(tmp_path: Path) -> None:
    card = read_tracks(files(tmp_path, {"a.txt": walk(range(0, 250, 10)) + walk(range(0, 50, 10), 2)})).card
    assert DataCard.from_dict(msgspec.json.decode(msgspec.json.encode(card.to_dict()))) == card
    (recording,) = card.recordings
    assert (recording.since, recording.until, recording.span_s) == ("0.0 s", "9.6 s", 9.6)
    assert recording.speed_median_per_s == pytest.approx(2.5)
    page = card.to_markdown()
    assert "6 windows of 8 + 12 steps in 1 trajectories of 1 tracks (25 positions 0.4 s apart, in m)" in page
    assert "| shorter than 20 steps | 1 | 5 |" in page
    with pytest.raises(InvalidInputError, match="data card: .*recordings"):
        DataCard.from_dict({key: value for key, value in card.to_dict().items() if key != "recordings"})


@settings(deadline=None)
@given(
    start=st.integers(0, 3_000_000_000),
    gaps=st.lists(st.integers(1_000_000, 3_000_000_000), max_size=40),
    speed=st.floats(-5, 5),
)
def test_a_straight_walk_is_sampled_exactly_and_never_beyond_its_rows(
    start: int, gaps: list[int], speed: float
) -> None:
    moments = np.cumsum([start, *gaps])
    sampled = sample_on_grid(moments, np.column_stack([moments * speed * 1e-9, moments * 1e-9]))
    breaks = np.flatnonzero(np.array(gaps) > 2_000_000_000)
    assert len(sampled) <= len(breaks) + 1
    steps = [step for first, points, _ in sampled for step in range(first, first + len(points))]
    stretches = np.split(moments, breaks + 1)
    expected = [
        k for part in stretches for k in range(-(-int(part[0]) // 400_000_000), int(part[-1]) // 400_000_000 + 1)
    ]
    assert steps == expected
    rows = set((moments // 400_000_000).tolist())
    for first, points, seen in sampled:
        times = (first + np.arange(len(points))) * 0.4
        np.testing.assert_allclose(points, np.column_stack([times * speed, times]), atol=1e-6)
        assert seen.tolist() == [step in rows for step in range(first, first + len(points))]


@pytest.mark.skipif(not (DATA / "mot15").is_dir(), reason=f"{DATA}/mot15 is not there; PATHCAST_DATA names the folder")
def test_real_ground_truth() -> None:
    world = read_tracks(DATA / "pets09_s2l1").card
    assert (world.units, world.tracks, world.windows) == ("m", 19, 1192)
    # People walk at about one metre a second.
    assert 0.8 < world.recordings[0].speed_median_per_s < 1.3
    pixels = read_tracks(DATA / "mot15").card
    assert (pixels.units, pixels.windows) == ("frame_heights", 769)
