"""The tracker of one camera: Kalman motion and association in stages, all tracks in arrays.

The stages follow ByteTrack (Zhang et al. 2022): high scores first, then low scores for what is left. The
similarity is the buffered IoU of C-BIoU (Yang et al. 2023) times the agreement of heights of Hybrid-SORT
(Yang et al. 2024), and tracks are sought again where they were last seen, as OC-SORT (Cao et al. 2023) does.
Appearance, and the camera's motion read from the images, are optional.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from pathcast.core import Detections, FrameTracks, InvalidInputError
from pathcast.core.arrays import Float32Array, Float64Array, Int64Array, UInt8Array
from pathcast.core.clock import from_nanoseconds, to_nanoseconds
from pathcast.core.frame import check_utc
from pathcast.tracking import appearance, kalman
from pathcast.tracking.association import assign, similar_pairs
from pathcast.tracking.camera_motion import CameraMotion, check_image
from pathcast.tracking.settings import AppearanceSettings, TrackerSettings
from pathcast.tracking.state import NO_FRAME, Memory, pack, unpack
from pathcast.tracking.sway import camera_shift

# Tracks are columns of two tables; a quantity of all tracks is a row, so that it lies together in memory.
_MOTION = slice(0, kalman.ROWS)
_LAST_CORNERS = slice(kalman.ROWS, kalman.ROWS + 4)
_SCORE = kalman.ROWS + 4
_REAL_ROWS = kalman.ROWS + 5

_ID, _CLASS, _HITS, _SEEN_US = range(4)
_WHOLE_ROWS = 4

# Arrays, because NumPy takes up to twice as long to work with one of Python's numbers.
_TENTATIVE_ID, _NONE = np.array(0), np.array(-1)

_Mask = npt.NDArray[np.bool_]


class _Seen(NamedTuple):
    """A frame's detections in the tracker's terms: `corners` and `boxes` (4, m), `scores` and `classes` (m,).

    `looks` (m, d) are their embeddings as unit vectors, None where appearance plays no part.
    """

    corners: Float64Array
    boxes: Float64Array
    scores: Float64Array
    classes: Int64Array
    looks: Float32Array | None

    @classmethod
    def of(cls, detections: Detections, looks: Float32Array | None) -> Self:
        corners = detections.xyxy.T.astype(np.float64, order="C")
        scores = detections.scores.astype(np.float64)
        return cls(corners, kalman.to_centre(corners), scores, detections.class_ids, looks)


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
        self._reals: Float64Array = np.empty((_REAL_ROWS, 0))
        self._wholes: Int64Array = np.empty((_WHOLE_ROWS, 0), dtype=np.int64)
        self._next_id = 1
        self._now_us = NO_FRAME
        self._sway: Float64Array = np.zeros(2)
        self._looks: Float32Array = np.empty((0, 0), dtype=np.float32)
        motion = self._settings.camera_motion
        self._camera_motion = None if motion is None else CameraMotion(motion)

    @property
    def settings(self) -> TrackerSettings:
        """The settings it was made with."""
        return self._settings

    def update(self, detections: Detections, captured_at: datetime, image: UInt8Array | None = None) -> FrameTracks:
        """The tracks of the frame captured at `captured_at` (aware UTC), the next in time.

        A longer step of time than usual (lost frames) is predicted over. `image` (h, w, 3) RGB is looked at where
        the settings have `camera_motion`. Raises InvalidInputError, and changes nothing, when `captured_at` is not
        after that of the frame before, or when embeddings are of another length than those before.
        """
        looks = self._unit_looks(detections)
        if image is not None:
            check_image(image)
        first_frame = self._now_us == NO_FRAME
        elapsed_us = self._start_frame(captured_at)
        if looks is not None and self._looks.shape[1] != looks.shape[1]:
            self._looks = np.zeros((self._reals.shape[1], looks.shape[1]), dtype=np.float32)
        self._end_tracks(elapsed_us)
        if self._reals.shape[1]:
            kalman.predict(self._reals[_MOTION], elapsed_us / 1e6, self._settings.motion)
        if self._camera_motion is not None:
            self._move_with_camera(self._camera_motion.update(image))
        seen = _Seen.of(detections, looks)
        taken = self._associate(seen, elapsed_us)
        self._correct(taken, seen)
        taken = self._open_tracks(taken, seen)
        self._confirm(taken, at_once=first_frame)
        return self._report(taken)

    def forget_looks(self) -> None:
        """Forget what the objects look like: from now on another model says so. Identities stay."""
        self._looks = np.zeros((self._reals.shape[1], 0), dtype=np.float32)

    def state(self) -> bytes:
        """Everything the tracker remembers, settings included; see `restore`."""
        picture = None if self._camera_motion is None else self._camera_motion.previous
        return pack(
            Memory(
                self._settings,
                self._next_id,
                self._now_us,
                self._sway,
                self._reals,
                self._wholes,
                self._looks,
                picture,
            )
        )

    @classmethod
    def restore(cls, data: bytes, settings: TrackerSettings | None = None) -> Self:
        """The tracker whose `state` this was; it goes on exactly as that one would have, or with other `settings`.

        Raises InvalidInputError where `data` is not the state of a tracker.
        """
        memory = unpack(data, _REAL_ROWS, _WHOLE_ROWS)
        wholes = memory.wholes
        confirmed = wholes[_ID, wholes[_ID] != _TENTATIVE_ID]
        if (
            len(np.unique(confirmed)) != len(confirmed)
            or (confirmed < 1).any()
            or (confirmed >= memory.next_id).any()
            or (wholes[_SEEN_US] > memory.now_us).any()
        ):
            raise InvalidInputError("tracker state: ids or times contradict each other")
        tracker = cls(memory.settings if settings is None else settings)
        tracker._reals, tracker._wholes, tracker._looks = memory.reals, wholes, memory.looks
        tracker._next_id, tracker._now_us, tracker._sway = memory.next_id, memory.now_us, memory.sway
        if tracker._camera_motion is not None and tracker.settings.camera_motion == memory.settings.camera_motion:
            tracker._camera_motion.previous = memory.picture
        return tracker

    def _unit_looks(self, detections: Detections) -> Float32Array | None:
        if self._settings.appearance is None or detections.embeddings is None:
            return None
        size, known = detections.embeddings.shape[1], self._looks.shape[1]
        if known not in (0, size):
            raise InvalidInputError(
                f"embeddings: expected {known} numbers each as before, got {size}",
                hint="`forget_looks` first where another model embeds",
            )
        return appearance.unit(detections.embeddings)

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

    def _end_tracks(self, elapsed_us: int) -> None:
        unseen_us = self._now_us - self._wholes[_SEEN_US]
        ended = unseen_us > elapsed_us
        ended &= self._wholes[_ID] == _TENTATIVE_ID
        ended |= unseen_us > _microseconds(self._remembered_s())
        if np.count_nonzero(ended):  # in a fourth of the time of `any`
            # Not by an index [:, kept], which would give tables whose rows no longer lie together in memory.
            kept = ~ended
            self._reals, self._wholes = self._reals.compress(kept, axis=1), self._wholes.compress(kept, axis=1)
            if self._looks.shape[1]:
                self._looks = self._looks[kept]

    def _remembered_s(self) -> float:
        look = self._settings.appearance
        longest = self._settings.max_lost_s
        return longest if look is None or not self._looks.shape[1] else max(longest, look.memory_s)

    def _move_with_camera(self, affine: Float64Array | None) -> None:
        if affine is not None and self._reals.shape[1]:
            kalman.warp(self._reals[_MOTION], affine)
            kalman.warp_corners(self._reals[_LAST_CORNERS], affine)

    def _associate(self, seen: _Seen, elapsed_us: int) -> Int64Array:
        """(n,) the detection that each track takes, or -1."""
        settings = self._settings
        taken = np.empty(self._reals.shape[1], dtype=np.int64)
        taken.fill(_NONE)
        if not len(taken) or not len(seen.scores):
            return taken
        confirmed = self._wholes[_ID] != _TENTATIVE_ID
        high = seen.scores >= settings.high_score
        free = high.copy()
        sought = confirmed
        if self._looks.shape[1]:
            # Those lost for longer are only remembered for their looks.
            sought = confirmed & (self._wholes[_SEEN_US] >= self._now_us - _microseconds(settings.max_lost_s))
        tracks, detections = sought.nonzero()[0], high.nonzero()[0]
        expected = self._reals[kalman.BOX]
        self._match(taken, free, (expected,), tracks, seen, detections, settings.buffer_first, settings.least_first)
        before_us = self._now_us - elapsed_us
        if self._follow_camera(seen.boxes, taken, before_us):
            taken[:], free[:] = _NONE, high
            self._match(taken, free, (expected,), tracks, seen, detections, settings.buffer_first, settings.least_first)
        tracks = tracks[taken[tracks] == _NONE]
        if len(tracks):
            low = ((seen.scores >= settings.low_score) & ~high).nonzero()[0]
            recent = tracks[self._wholes[_SEEN_US, tracks] >= before_us - _microseconds(settings.low_lost_s)]
            # What is half hidden looks like what hides it.
            second = seen if seen.looks is None else seen._replace(looks=None)
            self._match(taken, free, (expected,), recent, second, low, settings.buffer_second, settings.least_second)
        detections = free.nonzero()[0]
        if not len(detections):
            return taken
        tracks = tracks[taken[tracks] == _NONE]
        ratio, least = settings.buffer_recovery, settings.least_recovery
        if len(tracks):
            last = kalman.to_centre(self._reals[_LAST_CORNERS])
            self._match(taken, free, (expected, last), tracks, seen, detections, ratio, least)
            detections = free.nonzero()[0]
        if seen.looks is not None and settings.appearance is not None:
            tracks = (confirmed & (taken == _NONE)).nonzero()[0]
            self._recall(taken, free, tracks, seen, seen.looks, detections, settings.appearance)
            detections = free.nonzero()[0]
        tracks = (~confirmed).nonzero()[0]
        self._match(taken, free, (expected,), tracks, seen, detections, ratio, settings.least_tentative)
        return taken

    def _match(
        self,
        taken: Int64Array,
        free: _Mask,
        places: tuple[Float64Array, ...],
        tracks: Int64Array,
        seen: _Seen,
        detections: Int64Array,
        buffer_ratio: float,
        least: float,
    ) -> None:
        """Match `tracks`, sought at each of `places` (4, n), with `detections`; `taken` and `free` say so then."""
        if not len(tracks) or not len(detections):
            return
        boxes, power = seen.boxes.take(detections, axis=1), self._settings.height_power
        sought = [place.take(tracks, axis=1) for place in places]
        everywhere = sought[0] if len(sought) == 1 else np.concatenate(sought, axis=1)
        pairs = similar_pairs(everywhere, boxes, buffer_ratio, power, least)
        if not len(pairs.rows):
            return
        if len(sought) > 1:
            pairs = pairs._replace(rows=pairs.rows % len(tracks))
        unlike = self._wholes[_CLASS][tracks][pairs.rows] != seen.classes[detections][pairs.columns]
        if np.count_nonzero(unlike):
            pairs = pairs.select(~unlike)
        look = self._settings.appearance
        if seen.looks is not None and look is not None:
            pairs = appearance.weighed(pairs, self._looks[tracks], seen.looks[detections], least, look)
        rows, columns = assign(pairs, least)
        matches = detections[columns]
        taken[tracks[rows]], free[matches] = matches, False

    def _recall(
        self,
        taken: Int64Array,
        free: _Mask,
        tracks: Int64Array,
        seen: _Seen,
        looks: Float32Array,
        detections: Int64Array,
        settings: AppearanceSettings,
    ) -> None:
        """Match what no motion explains by looks alone; `taken` and `free` say so then."""
        if not len(tracks) or not len(detections):
            return
        last = kalman.to_centre(self._reals[_LAST_CORNERS][:, tracks])
        unseen_s = (self._now_us - self._wholes[_SEEN_US, tracks]) / 1e6
        boxes = seen.boxes[:, detections]
        pairs = appearance.recalled(self._looks[tracks], last, unseen_s, looks[detections], boxes, settings)
        pairs = pairs.select(self._wholes[_CLASS, tracks][pairs.rows] == seen.classes[detections][pairs.columns])
        rows, columns = assign(pairs, settings.recall_cosine)
        matches = detections[columns]
        taken[tracks[rows]], free[matches] = matches, False

    def _follow_camera(self, boxes: Float64Array, taken: Int64Array, before_us: int) -> bool:
        """Shift all tracks by what the camera seems to have moved; whether it is enough to match anew."""
        settings = self._settings.sway
        recent = self._wholes[_SEEN_US] >= before_us - _microseconds(settings.recent_s)
        recent &= taken != _NONE
        rows = recent.nonzero()[0]
        if len(rows) < settings.least_objects:
            return False
        offsets = boxes[:2].take(taken[rows], axis=1) - self._reals[:2].take(rows, axis=1)
        shift, self._sway = camera_shift(offsets, self._sway, settings)
        if not any(shift):
            return False
        kalman.shift(self._reals[_MOTION], shift)
        self._reals[_LAST_CORNERS] += np.array(shift + shift)[:, np.newaxis]
        return max(map(abs, shift)) >= settings.least_shift_px

    def _correct(self, taken: Int64Array, seen: _Seen) -> None:
        found = taken != _NONE
        rows = found.nonzero()[0]
        detections = taken[rows]
        reals = self._reals.take(rows, axis=1)
        scores = seen.scores[detections]
        kalman.correct(reals[_MOTION], seen.boxes.take(detections, axis=1), scores, self._settings.motion)
        reals[_LAST_CORNERS] = seen.corners.take(detections, axis=1)
        reals[_SCORE] = scores
        self._reals[:, rows] = reals
        look = self._settings.appearance
        if seen.looks is not None and look is not None:
            sure = scores >= self._settings.high_score
            rows_seen = rows[sure]
            self._looks[rows_seen] = appearance.blended(
                self._looks[rows_seen], seen.looks[detections[sure]], look.momentum
            )
        hits, seen_us = self._wholes[_HITS], self._wholes[_SEEN_US]
        hits += found
        seen_us[found] = self._now_us

    def _open_tracks(self, taken: Int64Array, seen: _Seen) -> Int64Array:
        """Open a tentative track for every good detection left; returns `taken` with theirs at its end."""
        wanted = seen.scores >= self._settings.new_score
        wanted[taken[taken != _NONE]] = False
        born = wanted.nonzero()[0]
        if not len(born):
            return taken
        reals = np.empty((_REAL_ROWS, len(born)))
        reals[_MOTION] = kalman.initial_motion(seen.boxes[:, born], self._settings.motion)
        reals[_LAST_CORNERS] = seen.corners[:, born]
        reals[_SCORE] = seen.scores[born]
        wholes = np.empty((_WHOLE_ROWS, len(born)), dtype=np.int64)
        wholes[_ID] = _TENTATIVE_ID
        wholes[_CLASS] = seen.classes[born]
        wholes[_HITS] = 1
        wholes[_SEEN_US] = self._now_us
        self._reals = np.concatenate((self._reals, reals), axis=1)
        self._wholes = np.concatenate((self._wholes, wholes), axis=1)
        if self._looks.shape[1]:
            unknown = np.zeros((len(born), self._looks.shape[1]), dtype=np.float32)
            self._looks = np.concatenate((self._looks, unknown if seen.looks is None else seen.looks[born]))
        return np.concatenate((taken, born))

    def _confirm(self, taken: Int64Array, *, at_once: bool) -> None:
        """Give ids to tentative tracks that have proved themselves; `at_once` takes what is there as proven.

        On a camera's first frame nothing could have been seen before, so nothing is gained by doubt.
        """
        rows = ((self._wholes[_ID] == _TENTATIVE_ID) & (taken != _NONE)).nonzero()[0]
        if not len(rows):
            return
        enough = self._wholes[_HITS, rows] >= self._settings.confirm_hits
        enough |= self._reals[_SCORE, rows] >= self._settings.instant_score
        enough |= at_once
        rows = rows[enough]
        self._wholes[_ID, rows] = np.arange(self._next_id, self._next_id + len(rows))
        self._next_id += len(rows)

    def _report(self, taken: Int64Array) -> FrameTracks:
        settings = self._settings
        coasting = self._wholes[_SEEN_US] >= self._now_us - _microseconds(settings.coast_s)
        coasting &= self._wholes[_HITS] >= settings.coast_hits
        coasting |= taken != _NONE
        coasting &= self._wholes[_ID] != _TENTATIVE_ID
        rows = coasting.nonzero()[0]
        rows = rows[self._wholes[_ID][rows].argsort()]
        ids, classes = self._wholes[: _CLASS + 1].take(rows, axis=1)
        boxes = kalman.to_corners(self._reals[kalman.BOX].take(rows, axis=1))
        return FrameTracks(ids, boxes, self._reals[_SCORE][rows], classes, taken[rows])


def _microseconds(seconds: float) -> int:
    """Whole microseconds; of infinite seconds more than ever pass, and little enough to subtract from the time."""
    return round(min(1e6 * seconds, 2.0**62))
