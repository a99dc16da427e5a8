"""The search for settings, in this process: a parabola with its best point at 3."""

import itertools
from contextlib import nullcontext

import numpy as np
import optuna
import pytest
from optuna.trial import FixedTrial, TrialState
from typer.testing import CliRunner

from pathcast.cli.main import app
from pathcast.core.errors import InvalidInputError, PathcastError
from pathcast.tracking.mot_format import MotBoxes, SequenceInfo, write_boxes, write_sequence_info
from pathcast.training.lifecycle import prepare_dataset
from pathcast.training.search_space import TRACKER, Choice, Real, Whole, starting_point, suggest, without
from pathcast.training.search_steps import find_search
from pathcast.training.tracker_tuning import SPACE, TrackerSearch
from pathcast.training.tuning import STUDY_FILE, Estimate, Study

FAILS_ABOVE = 9.0


class Parabola:
    """Each trial reports its value three times; above FAILS_ABOVE the loss is not finite."""

    name, value_name, maximize = "parabola", "height", False
    space = {"x": Real(-10.0, 10.0)}
    fixed: dict[str, object] = {}

    def __init__(self, version="1"):
        self._version = version

    def facts(self):
        return {"version": self._version}

    def start(self):
        return {"x": 2.0}

    def open(self):
        return self

    def run(self, values, report):
        if values["x"] > FAILS_ABOVE:
            raise PathcastError("the loss is nan")
        for step in (1, 2, 3):
            report(step, (values["x"] - 3) ** 2)
        return (values["x"] - 3) ** 2


def work(study, trials):
    left = iter(range(trials))
    study.work(lambda: next(left, None) is not None, 0)


@pytest.fixture
def study(tmp_path):
    study = Study(Parabola(), tmp_path / "search")
    study.open(resume=False)
    return study


def test_a_search_begins_with_the_settings_as_they_are_and_finds_better_ones(study, tmp_path):
    work(study, 20)
    ended = study.ended()
    assert ended[0].params == {"x": 2.0}
    assert ended[0].value == 1.0
    assert [trial.number for trial in ended] == list(range(20))
    assert study.best().value < 0.5
    assert TrialState.PRUNED in {trial.state for trial in ended}
    pictures = study.plot(tmp_path / "plots")
    assert {picture.stem for picture in pictures} == {"history", "steps", "settings", "importance"}
    assert all(picture.stat().st_size > 5_000 for picture in pictures)


def test_the_direction_is_the_searchs(tmp_path):
    search = Parabola()
    search.maximize = True
    study = Study(search, tmp_path)
    study.open(resume=False)
    work(study, 8)
    done = [trial.value for trial in study.ended() if trial.state == TrialState.COMPLETE]
    assert study.best().value == max(done)


def test_trials_that_fail_count_and_say_why(study, monkeypatch):
    monkeypatch.setitem(globals(), "FAILS_ABOVE", -100.0)
    work(study, 2)
    assert [trial.user_attrs["reason"] for trial in study.ended()] == ["the loss is nan"] * 2
    with pytest.raises(PathcastError, match="no trial came to an end: the loss is nan"):
        study.best()


def test_what_a_killed_process_left_is_tried_again(study, tmp_path):
    work(study, 3)
    killed = study._study().ask({"x": optuna.distributions.FloatDistribution(-10.0, 10.0)})
    again = Study(Parabola(), tmp_path / "search")
    again.open(resume=True)
    assert len(again.ended()) == 3
    work(again, 1)
    assert again.ended()[-1].params == killed.params
    assert [trial.number for trial in again.ended()] == [0, 1, 2, killed.number + 1]


@pytest.mark.parametrize("drawn", [True, False])
def test_what_an_interrupt_cut_short_is_tried_again_once(study, tmp_path, monkeypatch, drawn):
    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as cut:
        cut.setattr(*((Parabola, "run") if drawn else ("pathcast.training.tuning.suggest",)), interrupt)
        with pytest.raises(KeyboardInterrupt):
            work(study, 1)
    assert study.ended() == []
    for trials in (1, 3):
        again = Study(Parabola(), tmp_path / "search")
        again.open(resume=True)
        work(again, trials)
    assert [trial.params["x"] for trial in again.ended()].count(2.0) == 1
    assert len(again.ended()) == 4
    assert again.summary()["start"] == 1.0


def test_what_is_about_to_fail_has_not_ended_and_is_not_tried_again(study, tmp_path):
    failing = study._study().ask({"x": optuna.distributions.FloatDistribution(-10.0, 10.0)})
    failing.set_user_attr("reason", "the loss is nan")
    assert study.ended() == []
    again = Study(Parabola(), tmp_path / "search")
    again.open(resume=True)
    assert [trial.number for trial in again.ended()] == [failing.number]
    assert [trial for trial in again._study().get_trials() if trial.state == TrialState.WAITING] == []


def test_an_error_of_the_program_counts_and_is_not_tried_again(study, tmp_path, monkeypatch):
    with monkeypatch.context() as broken:
        broken.setitem(globals(), "FAILS_ABOVE", "nine")
        with pytest.raises(TypeError):
            work(study, 1)
    again = Study(Parabola(), tmp_path / "search")
    again.open(resume=True)
    work(again, 1)
    failed, other = again.ended()
    assert failed.user_attrs["reason"].startswith("TypeError: ")
    assert other.params != failed.params


@pytest.mark.parametrize("at_the_end", [True, False])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_no_number_fails_its_trial(study, monkeypatch, value, at_the_end):
    def run(self, values, report):
        report(1, 1.0 if at_the_end else value)
        return value if at_the_end else 1.0

    monkeypatch.setattr(Parabola, "run", run)
    work(study, 2)
    assert [trial.user_attrs["reason"] for trial in study.ended()] == [f"the height is {value}"] * 2


def test_the_settings_as_they_are_are_never_stopped(tmp_path):
    search = Parabola()
    search.start = lambda: {"x": -10.0}  # the worst
    study = Study(search, tmp_path)
    study.open(resume=False)
    waiting = study._study()
    for x in (3.0, 3.1, 3.2, 3.3, 3.4):
        waiting.enqueue_trial({"x": x})
    left = waiting.ask({"x": optuna.distributions.FloatDistribution(-10.0, 10.0)})
    assert left.params == {"x": -10.0}  # and killed, so that the others come to their ends before it
    again = Study(search, tmp_path)
    again.open(resume=True)
    work(again, 6)
    assert again.ended()[-1].params == {"x": -10.0}
    assert again.ended()[-1].state == TrialState.COMPLETE
    assert again.summary()["start"] == 169.0


def test_the_settings_as_they_were_are_found_also_where_their_trial_was_killed(study, tmp_path):
    killed = study._study().ask({"x": optuna.distributions.FloatDistribution(-10.0, 10.0)})
    assert killed.params == {"x": 2.0}
    again = Study(Parabola(), tmp_path / "search")
    again.open(resume=True)
    work(again, 2)
    assert again.summary()["start"] == 1.0


def test_a_search_that_goes_on_tries_what_it_has_not_tried(study, tmp_path):
    work(study, 4)
    for wanted in (8, 12):
        again = Study(Parabola(), tmp_path / "search")
        again.open(resume=True)
        work(again, 4)
        drawn = [trial.params["x"] for trial in again.ended()]
        assert len(set(drawn)) == len(drawn) == wanted


def test_processes_draw_differently(tmp_path):
    tried = set()
    for worker, known in itertools.product((0, 1, 2), (1, 2, 3)):
        study = Study(Parabola(), tmp_path / f"{worker}-{known}")
        study.open(resume=False)
        study.work(iter([True] * known + [False]).__next__, 0)
        study.work(iter([True, False]).__next__, worker)
        tried.add(study.ended()[-1].params["x"])
    assert len(tried) == 9


def test_another_search_in_the_same_folder_is_refused(study, tmp_path):
    with pytest.raises(InvalidInputError, match="a search lies there"):
        Study(Parabola(), tmp_path / "search").open(resume=False)
    with pytest.raises(InvalidInputError, match="a search with other version lies there"):
        Study(Parabola("2"), tmp_path / "search").open(resume=True)


@pytest.mark.parametrize(
    ("first", "second", "granted"), [(False, True, False), (True, False, False), (True, True, True)]
)
def test_a_search_that_runs_is_opened_by_nobody_else(study, tmp_path, first, second, granted):
    with study.held(shared=first):
        refused = nullcontext() if granted else pytest.raises(PathcastError, match="a search is running there")
        with refused, Study(Parabola(), tmp_path / "search").held(shared=second):
            assert granted


@pytest.mark.parametrize(
    ("trials", "parallel", "slowdown", "total_s", "hours"),
    [(10, 1, 1.0, 600.0, 1 / 6), (10, 4, 1.0, 180.0, 1 / 6), (10, 4, 2.0, 360.0, 1 / 6), (0, 1, 1.0, 0.0, 0.0)],
)
def test_the_estimate_is_trials_times_time_by_parallel(trials, parallel, slowdown, total_s, hours):
    estimate = Estimate(trials, parallel, trial_s=60.0, slowdown=slowdown)
    assert estimate.total_s == total_s
    assert estimate.machine_hours == pytest.approx(hours)


def test_spaces_draw_hold_and_leave_out():
    space = {"rate": Real(1e-4, 1e-1, log=True), "units": Whole(8, 64), "kind": Choice(("a", "b"))}
    values = {"rate": 0.01, "units": 32, "kind": "b"}
    assert suggest(space, FixedTrial(values)) == values
    assert starting_point(space, {"rate": 0.01, "units": 128, "kind": "c", "other": 1}) == {"rate": 0.01}
    assert without(space, {"units": 16}).keys() == {"rate", "kind"}
    with pytest.raises(InvalidInputError, match="all of kind, rate, units fixed"):
        without(space, values)


def test_the_trackers_settings_start_in_the_space():
    assert TrackerSearch((), (), {}).start().keys() == SPACE.keys()


def write_sequence(folder, shift=0.0):
    boxes = np.array([[10.0, 10, 40, 90], [12, 10, 42, 90]]) + shift
    for part, marks in (("gt", np.array([1, 1])), ("det", np.array([-1, -1]))):
        (folder / part).mkdir(parents=True)
        write_boxes(folder / part / f"{part}.txt", MotBoxes(np.array([1, 2]), marks, boxes, np.ones(2)))
    write_sequence_info(folder, SequenceInfo(folder.name, 10, 2, 640, 480))


def test_sequences_are_prepared_for_a_search_without_their_images(tmp_path):
    for name, shift in (("one", 0.0), ("two", 5.0)):
        write_sequence(tmp_path / "raw" / "set" / name, shift)
        (tmp_path / "raw" / "set" / name / "img1").mkdir()
        (tmp_path / "raw" / "set" / name / "img1" / "000001.jpg").write_bytes(b"large")
    version = prepare_dataset(TRACKER, tmp_path / "raw", tmp_path / "data", {})
    files = {
        path.relative_to(tmp_path / "data").as_posix() for path in (tmp_path / "data").rglob("*") if path.is_file()
    }
    assert files == {
        f"{name}/{file}" for name in ("one", "two") for file in ("seqinfo.ini", "gt/gt.txt", "det/det.txt")
    }
    search = find_search(TRACKER, tmp_path / "data", {"confirm_hits": 1.0}, 0)  # as pipelines hand numbers on
    assert search.open().run({}, lambda step, value: None) > 50
    before = search.facts()
    # The names alone do not tell one search from another.
    (tmp_path / "data" / "one" / "det" / "det.txt").write_text("1,-1,0,0,9,9,1,-1,-1,-1\n")
    assert search.facts() != before
    assert version != prepare_dataset(TRACKER, tmp_path / "data", tmp_path / "other", {})


def test_sequences_are_prepared_with_the_detections_that_are_named(tmp_path):
    write_sequence(tmp_path / "raw" / "one")
    found = tmp_path / "raw" / "one" / "det"
    text = (found / "det.txt").read_text()
    found.rename(found.with_name("det_other"))
    with pytest.raises(InvalidInputError, match="no option nonsense; expected one of detections"):
        prepare_dataset(TRACKER, tmp_path / "raw", tmp_path / "data", {"nonsense": 1})
    for number, names in enumerate((["none", "det_other"], "det_other")):
        folder = tmp_path / f"data{number}"
        prepare_dataset(TRACKER, tmp_path / "raw", folder, {"detections": names})
        assert (folder / "one" / "det" / "det.txt").read_text() == text


def test_sequences_that_cannot_be_searched_are_named(tmp_path):
    write_sequence(tmp_path / "raw" / "a" / "one")
    write_sequence(tmp_path / "raw" / "b" / "one")
    write_sequence_info(tmp_path / "raw" / "b" / "one", SequenceInfo("other", 10, 2, 640, 480))
    with pytest.raises(InvalidInputError, match="a second sequence one"):
        prepare_dataset(TRACKER, tmp_path / "raw", tmp_path / "data", {})
    (tmp_path / "raw" / "a" / "one" / "det" / "det.txt").unlink()
    with pytest.raises(InvalidInputError, match="expected detections at one of"):
        prepare_dataset(TRACKER, tmp_path / "raw" / "a", tmp_path / "other", {})


def test_the_command_holds_its_search(tmp_path, monkeypatch):
    write_sequence(tmp_path / "one")
    search = ["tune", "tracker", "--data", str(tmp_path / "one"), "--output", str(tmp_path / "out"), "--trials", "1"]

    def run(study, *_):
        with pytest.raises(PathcastError, match="a search is running there"), study.held(shared=True):
            pass
        raise KeyboardInterrupt

    monkeypatch.setattr(Study, "run", run)
    assert CliRunner().invoke(app, [*search, "--yes"]).exit_code == 130
    with Study(Parabola(), tmp_path / "out").held():  # let go, however it ended
        with pytest.raises(PathcastError, match="a search is running there"):
            CliRunner().invoke(app, [*search, "--yes", "--resume"], catch_exceptions=False)


@pytest.mark.parametrize(
    ("options", "answer", "message"),
    [
        ((), "n\n", None),
        ((), "", None),
        (("--set", "foo.bar=1", "--yes"), "", "no setting foo.bar"),
        (("--set", "camera_motion.width_px=3", "--yes"), "", "no setting camera_motion.width_px; camera_motion is off"),
        (("--set", "high_score=2", "--yes"), "", "high_score"),
    ],
)
def test_a_search_that_does_not_begin_leaves_nothing_behind(tmp_path, options, answer, message):
    write_sequence(tmp_path / "one")
    search = ["tune", "tracker", "--data", tmp_path / "one", "--output", tmp_path / "out", *options]
    result = CliRunner().invoke(app, [str(part) for part in search], input=answer)
    assert result.exit_code == 1
    assert not (tmp_path / "out" / STUDY_FILE).exists()
    if message is not None:
        assert isinstance(result.exception, InvalidInputError)
        assert message in str(result.exception)
