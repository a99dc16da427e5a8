"""The tracker of one camera: Kalman motion and association in stages, all tracks in arrays.

The stages follow ByteTrack (Zhang et al. 2022): high scores first, then low scores for what is left. The
similarity is the buffered IoU of C-BIoU (Yang et al. 2023) times the agreement of heights of Hybrid-SORT
(Yang et al. 2024), and tracks are sought again where they were last seen, as OC-SORT (Cao et al. 2023) does.
"""

from __future__ import annotations

from datetime import datetime
from typing import Self

import numpy as np
import numpy.typing as npt

from pathcast.core import Detections, FrameTracks, InvalidInputError
from pathcast.core.arrays import Float64Array, Int64Array
from pathcast.core.clock import from_nanoseconds, to_nanoseconds
from pathcast.core.frame import check_utc
from pathcast.tracking import kalman
from pathcast.tracking.association import Pairs, assign, similar_pairs
from pathcast.tracking.settings import TrackerSettings
from pathcast.tracking.state import NO_FRAME, pack, unpack
from pathcast.tracking.sway import camera_shift

_MOTION = slice(0, kalman.COLUMNS)
_LAST_BOX = slice(kalman.COLUMNS, kalman.COLUMNS + 4)
_SCORE = kalman.COLUMNS + 4
_REAL_COLUMNS = kalman.COLUMNS + 5

_ID, _CLASS, _HITS, _SEEN_US = range(4)
_WHOLE_COLUMNS = 4

_TENTATIVE_ID = 0
_NONE = -1

_Rows = npt.NDArray[np.bool_]


class Tracker:
    """Gives the objects of one camera identities that last.

    Feed it every frame's detections in the order of their time. Ids ascend from 1 and are never reused;
    the same frames give the same ids and boxes, to the bit, on the same machine, whether or not the
    tracker was saved and restored in between. Objects of different classes never share a track.

    >>> from datetime import UTC, datetime
    >>> tracker = Tracker()
    >>> seen = Detections([[100, 100, 140, 200]], [0.9], [0])
    >>> tracker.update(seen, datetime(2024, 1, 1, tzinfo=UTC)).track_ids.tolist()
    [1]
    """

    def __init__(self, settings: TrackerSettings | None = None) -> None:
        self._settings = TrackerSettings() if settings is None else settings
        self._reals: Float64Array = np.empty((0, _REAL_COLUMNS))
        self._wholes: Int64Array = np.empty((0, _WHOLE_COLUMNS), dtype=np.int64)
        self._next_id = 1
        self._now_us = NO_FRAME
        self._sway: Float64Array = np.zeros(2)

    @property
    def settings(self) -> TrackerSettings:
        """The settings it was made with."""
        return self._settings

    def update(self, detections: Detections, captured_at: datetime) -> FrameTracks:
        """The tracks of the frame captured at `captured_at` (aware UTC), the next in time.

        A longer step of time than usual (lost frames) is predicted over. Raises InvalidInputError, and
        changes nothing, when `captured_at` is not after that of the frame before.
        """
        first_frame = self._now_us == NO_FRAME
        elapsed_us = self._start_frame(captured_at)
        self._end_tracks(elapsed_us)
        if len(self._reals):
            kalman.predict(self._reals[:, _MOTION], elapsed_us / 1e6, self._settings.motion)
        xyxy = detections.xyxy.astype(np.float64)
        scores = detections.scores.astype(np.float64)
        taken = self._associate(xyxy, scores, detections.class_ids, elapsed_us)
        self._correct(taken, xyxy, scores)
        taken = self._open_tracks(taken, xyxy, scores, detections.class_ids)
        self._confirm(taken, at_once=first_frame)
        return self._report(taken)

    def state(self) -> bytes:
        """Everything the tracker remembers, settings included; see `restore`."""
        return pack(self._settings, self._next_id, self._now_us, self._sway, self._reals, self._wholes)

    @classmethod
    def restore(cls, data: bytes) -> Self:
        """The tracker whose `state` this was; it goes on exactly as that one would have.

        Raises InvalidInputError where `data` is not the state of a tracker.
        """
        state, reals, wholes = unpack(data, _REAL_COLUMNS, _WHOLE_COLUMNS)
        confirmed = wholes[wholes[:, _ID] != _TENTATIVE_ID, _ID]
        if (
            len(np.unique(confirmed)) != len(confirmed)
            or (confirmed < 1).any()
            or (confirmed >= state.next_id).any()
            or (wholes[:, _SEEN_US] > state.now_us).any()
        ):
            raise InvalidInputError("tracker state: ids or times contradict each other")
        tracker = cls(state.settings)
        tracker._reals, tracker._wholes = reals, wholes
        tracker._next_id, tracker._now_us = state.next_id, state.now_us
        tracker._sway = np.array(state.sway)
        return tracker

    def _start_frame(self, captured_at: datetime) -> int:
        now_us = to_nanoseconds(check_utc("captured_at", captured_at)) // 1_000
        if now_us < 0:
            raise InvalidInputError(f"captured_at: expected a time after 1970, got {captured_at.isoformat()}")
        if self._now_us == NO_FRAME:
            elapsed_us = 0
        else:
            elapsed_us = now_us - self._now_us
            if elapsed_us <= 0:
                last = from_nanoseconds(self._now_us * 1_000).isoformat()
                raise InvalidInputError(
                    f"captured_at: expected a time after the last frame's {last}, got {captured_at.isoformat()}",
                    hint="feed each frame once, in the order of capture; use one Tracker per camera",
                )
        self._now_us = now_us
        return elapsed_us

    def _unseen_s(self) -> Float64Array:
        """(n,) seconds since each track's last detection."""
        seconds: Float64Array = (self._now_us - self._wholes[:, _SEEN_US]) / 1e6
        return seconds

    def _end_tracks(self, elapsed_us: int) -> None:
        unseen_us = self._now_us - self._wholes[:, _SEEN_US]
        missed_once = (self._wholes[:, _ID] == _TENTATIVE_ID) & (unseen_us > elapsed_us)
        keep = (unseen_us / 1e6 <= self._settings.max_lost_s) & ~missed_once
        if not keep.all():
            self._reals, self._wholes = self._reals[keep], self._wholes[keep]

    def _associate(
        self, xyxy: Float64Array, scores: Float64Array, class_ids: Int64Array, elapsed_us: int
    ) -> Int64Array:
        """(n,) the detection that each track takes, or -1."""
        settings = self._settings
        taken = np.full(len(self._reals), _NONE, dtype=np.int64)
        if not len(self._reals) or not len(xyxy):
            return taken
        free = np.ones(len(xyxy), dtype=bool)
        track_classes = self._wholes[:, _CLASS]

        def match(
            places: tuple[Float64Array, ...], tracks: _Rows, candidates: _Rows, buffer_ratio: float, least: float
        ) -> None:
            rows, columns = np.flatnonzero(tracks & (taken == _NONE)), np.flatnonzero(candidates & free)
            if not len(rows) or not len(columns):
                return
            boxes = xyxy[columns]
            found = [similar_pairs(place[rows], boxes, buffer_ratio, settings.height_power, least) for place in places]
            pairs = found[0] if len(found) == 1 else Pairs(*map(np.concatenate, zip(*found, strict=True)))
            alike = track_classes[rows[pairs.rows]] == class_ids[columns[pairs.columns]]
            if not alike.all():
                pairs = Pairs(*(values[alike] for values in pairs))
            matched, matches = assign(pairs, least)
            taken[rows[matched]] = columns[matches]
            free[columns[matches]] = False

        confirmed = self._wholes[:, _ID] != _TENTATIVE_ID
        unseen_s = self._unseen_s() - elapsed_us / 1e6
        high = scores >= settings.high_score
        low = (scores >= settings.low_score) & ~high
        expected = kalman.boxes(self._reals[:, _MOTION])
        match((expected,), confirmed, high, settings.buffer_first, settings.least_first)
        if self._follow_camera(expected, xyxy, taken, unseen_s):
            expected = kalman.boxes(self._reals[:, _MOTION])
            taken[:], free[:] = _NONE, True
            match((expected,), confirmed, high, settings.buffer_first, settings.least_first)
        recent = unseen_s <= settings.low_lost_s
        match((expected,), confirmed & recent, low, settings.buffer_second, settings.least_second)
        places = (expected, self._reals[:, _LAST_BOX])
        match(places, confirmed, high, settings.buffer_recovery, settings.least_recovery)
        match((expected,), ~confirmed, high, settings.buffer_recovery, settings.least_tentative)
        return taken

    def _follow_camera(
        self, expected: Float64Array, xyxy: Float64Array, taken: Int64Array, unseen_s: Float64Array
    ) -> bool:
        """Shift all tracks by what the camera seems to have moved; whether it is enough to match anew."""
        settings = self._settings.sway
        rows = np.flatnonzero((taken != _NONE) & (unseen_s <= settings.recent_s))
        if len(rows) < settings.least_objects:
            return False
        offsets = xyxy[taken[rows]] - expected[rows]
        shift, self._sway = camera_shift((offsets[:, :2] + offsets[:, 2:]) / 2.0, self._sway, settings)
        kalman.shift(self._reals[:, _MOTION], shift)
        self._reals[:, _LAST_BOX] += np.concatenate((shift, shift))
        return bool(np.abs(shift).max() >= settings.least_shift_px)

    def _correct(self, taken: Int64Array, xyxy: Float64Array, scores: Float64Array) -> None:
        rows = np.flatnonzero(taken != _NONE)
        seen = taken[rows]
        motion = self._reals[rows, _MOTION]
        self._reals[rows, _MOTION] = kalman.correct(motion, xyxy[seen], scores[seen], self._settings.motion)
        self._reals[rows, _LAST_BOX] = xyxy[seen]
        self._reals[rows, _SCORE] = scores[seen]
        self._wholes[rows, _HITS] += 1
        self._wholes[rows, _SEEN_US] = self._now_us

    def _open_tracks(
        self, taken: Int64Array, xyxy: Float64Array, scores: Float64Array, class_ids: Int64Array
    ) -> Int64Array:
        """Open a tentative track for every good detection left; returns `taken` with theirs at its end."""
        wanted = scores >= self._settings.new_score
        wanted[taken[taken != _NONE]] = False
        born = np.flatnonzero(wanted)
        if not len(born):
            return taken
        reals = np.empty((len(born), _REAL_COLUMNS))
        reals[:, _MOTION] = kalman.initial_motion(xyxy[born], self._settings.motion)
        reals[:, _LAST_BOX] = xyxy[born]
        reals[:, _SCORE] = scores[born]
        wholes = np.empty((len(born), _WHOLE_COLUMNS), dtype=np.int64)
        wholes[:, _ID] = _TENTATIVE_ID
        wholes[:, _CLASS] = class_ids[born]
        wholes[:, _HITS] = 1
        wholes[:, _SEEN_US] = self._now_us
        self._reals = np.concatenate((self._reals, reals))
        self._wholes = np.concatenate((self._wholes, wholes))
        return np.concatenate((taken, born))

    def _confirm(self, taken: Int64Array, *, at_once: bool) -> None:
        """Give ids to tentative tracks that have proved themselves; `at_once` takes what is there as proven.

        On a camera's first frame nothing could have been seen before, so nothing is gained by doubt.
        """
        enough = self._wholes[:, _HITS] >= self._settings.confirm_hits
        enough |= self._reals[:, _SCORE] >= self._settings.instant_score
        enough |= at_once
        rows = np.flatnonzero(enough & (taken != _NONE) & (self._wholes[:, _ID] == _TENTATIVE_ID))
        self._wholes[rows, _ID] = np.arange(self._next_id, self._next_id + len(rows))
        self._next_id += len(rows)

    def _report(self, taken: Int64Array) -> FrameTracks:
        settings = self._settings
        estimates = kalman.boxes(self._reals[:, _MOTION])
        seen = taken != _NONE
        confirmed = self._wholes[:, _ID] != _TENTATIVE_ID
        coasting = confirmed & ~seen & (self._unseen_s() <= settings.coast_s)
        coasting &= self._wholes[:, _HITS] >= settings.coast_hits
        rows = np.flatnonzero(confirmed & (seen | coasting))
        rows = rows[np.argsort(self._wholes[rows, _ID])]
        return FrameTracks(
            self._wholes[rows, _ID], estimates[rows], self._reals[rows, _SCORE], self._wholes[rows, _CLASS], taken[rows]
        )
