"""Is this movie complete? A pure rule over what was observed: no file, no clock.

Times are the watcher's own monotonic seconds. A file server's clock is never compared with ours: a modification
time only tells whether the file is still the one of the last look.
"""

from dataclasses import dataclass

from daemon.formats.structure import MovieStructure
from daemon.sessions.no_movies import SINGLE_IMAGE
from daemon.watchers.tail import ZeroTail

_EDGE_FILLED = 0.95  # a masked border is a few rows; a stalled copy ends anywhere
_BLANK_FRAMES_ALLOWED = 0.25  # a shutter that closes early blanks the last frames, not most of them
_COUNT_TOLERANCE = 0.02  # EER exposures of one session differ by a few hardware frames of a thousand
_SHORTEST_PAUSE_S = 0.01  # so that rounding never asks for a look at the same instant
_COPY_AGAIN = "copy the movie again from the camera while the original is still there, or remove it."
UNREADABLE = "check permissions and the mount as the user that runs elcano."
"""How the reason ends for which a file is given up that could not be read."""


@dataclass(frozen=True)
class Observation:
    """One look at a file. `structure` is None when only size and time were looked at; `problem` says why it
    could not be read."""

    at_s: float
    size_bytes: int
    mtime_ns: int
    structure: MovieStructure | None = None
    zero_tail: ZeroTail | None = None
    problem: str = ""


@dataclass(frozen=True)
class History:
    """What matters of all looks so far. `opened` is the last look of this silence that read the structure."""

    unchanged_since_s: float
    unchanged_looks: int
    last: Observation
    opened: Observation | None = None

    @property
    def silent_for_s(self) -> float:
        """How long the file has stayed the same, as far as we saw."""
        return self.last.at_s - self.unchanged_since_s


@dataclass(frozen=True)
class Wait:
    """Not yet; why, and when to look again."""

    reason: str
    look_again_after_s: float


@dataclass(frozen=True)
class Complete:
    """Whole and silent: process it."""

    reason: str


@dataclass(frozen=True)
class Quarantine:
    """It will not become a movie by itself."""

    reason: str


@dataclass(frozen=True)
class Ignore:
    """Whole, but no movie."""

    reason: str


Verdict = Wait | Complete | Quarantine | Ignore


def remember(history: History | None, observation: Observation) -> History:
    """Add one look to a file's history; any change starts the silence anew."""
    opened = observation if observation.structure is not None else None
    if history is None or not _is_same_file(history, observation):
        return History(observation.at_s, 1, observation, opened)
    return History(history.unchanged_since_s, history.unchanged_looks + 1, observation, opened or history.opened)


def _is_same_file(history: History, now: Observation) -> bool:
    before, opened = history.last, history.opened
    if (before.size_bytes, before.mtime_ns) != (now.size_bytes, now.mtime_ns):
        return False
    # A copy into a pre-allocated file changes neither size nor, on a lazy server, time: its structure tells.
    if opened is None or now.structure is None:
        return True
    return opened.structure == now.structure and opened.zero_tail == now.zero_tail


@dataclass(frozen=True)
class SettleRule:
    """How long each doubt has to last before it is decided.

    `min_quiet_s`: silence asked of every movie that was not renamed into place. `unknown_count_wait_s`: silence asked
    while nobody knows how many frames to expect. `short_count_wait_s`: while frames are missing (a TIFF written in
    place is a valid file after every frame). `zero_tail_wait_s`: when only the last rows are zero.
    `blank_frames_wait_s`: when the last frames are blank. `give_up_s`: silence after which a broken file is
    quarantined. `min_frames`: fewer are an image, not a movie.
    """

    min_quiet_s: float = 5.0
    stable_polls: int = 2
    unknown_count_wait_s: float = 15.0
    short_count_wait_s: float = 120.0
    zero_tail_wait_s: float = 20.0
    blank_frames_wait_s: float = 300.0
    give_up_s: float = 1800.0
    min_frames: int = 2
    look_every_s: float = 1.0
    slowest_look_s: float = 30.0

    def needs_structure(self, history: History | None, now: Observation, *, renamed_into_place: bool = False) -> bool:
        """Whether a file of this size and time has been silent for long enough to be worth opening."""
        if now.size_bytes == 0 or history is None or not _is_same_file(history, now):
            return False
        return renamed_into_place or now.at_s - history.unchanged_since_s >= self.min_quiet_s

    def judge(self, history: History, *, expected_frames: int | None, renamed_into_place: bool = False) -> Verdict:
        """Decide about a file by everything seen of it so far."""
        seen, silent_s = history.last, history.silent_for_s
        obstacle = self._obstacle(seen)
        if obstacle is not None:
            return self._give_up_or_wait(*obstacle, silent_s)
        is_stable = history.unchanged_looks >= self.stable_polls
        if is_stable and renamed_into_place and self._is_proven(seen, expected_frames):
            return Complete(f"renamed into place with all {expected_frames} frames")
        if silent_s < self.min_quiet_s or not is_stable:
            return self._wait("just seen or still being written", silent_s, self.min_quiet_s)
        if seen.structure is None:
            return Wait("changed while it was opened", self.look_every_s)
        return self._judge_whole(seen.structure, seen.zero_tail, expected_frames, silent_s)

    def _obstacle(self, seen: Observation) -> tuple[str, str] | None:
        """What is wrong with a file that cannot become a movie unless it changes, and what to do about it."""
        if seen.problem:
            return seen.problem, UNREADABLE
        if seen.size_bytes == 0:
            return "0 bytes: the copy never began, or the disk was full", _COPY_AGAIN
        if seen.structure is not None and not seen.structure.whole:
            return seen.structure.reason, _COPY_AGAIN
        if seen.zero_tail is not None and (reason := _missing_data(seen.zero_tail)):
            return reason, _COPY_AGAIN
        return None

    def _judge_whole(
        self, structure: MovieStructure, tail: ZeroTail | None, expected: int | None, silent_s: float
    ) -> Verdict:
        count_wait_s, count_reason = self._count_wait(structure.frame_count, expected)
        tail_wait_s, tail_reason = self._tail_wait(structure, tail)
        wait_s = max(count_wait_s, tail_wait_s)
        reason = tail_reason if tail_wait_s > count_wait_s else count_reason
        if silent_s < wait_s:
            return self._wait(reason, silent_s, wait_s)
        if structure.frame_count is not None and structure.frame_count < self.min_frames:
            few = f"only {structure.frame_count} frames, fewer than [watch] min_frames"
            return Ignore(SINGLE_IMAGE if structure.frame_count == 1 else few)
        return Complete(f"whole and unchanged for {silent_s:.0f} s: {reason}")

    def _count_wait(self, found: int | None, expected: int | None) -> tuple[float, str]:
        if found is None or expected is None:
            counted = "an unknown number of" if found is None else str(found)
            return self.unknown_count_wait_s, f"{counted} frames, how many to expect is not known yet"
        if found == expected:
            return self.min_quiet_s, f"all {expected} frames are there"
        if found < expected - int(expected * _COUNT_TOLERANCE):
            return self.short_count_wait_s, f"{found} of the {expected} frames that this session's movies have"
        return self.unknown_count_wait_s, f"{found} frames where this session's movies have {expected}"

    def _tail_wait(self, structure: MovieStructure, tail: ZeroTail | None) -> tuple[float, str]:
        if not structure.tail_is_zero:
            return 0.0, ""
        if tail is None:
            return self.blank_frames_wait_s, "the last bytes are zero"
        if tail.blank_frames == 0:
            return self.zero_tail_wait_s, "all frames are there, the last rows of the last one are zero"
        return self.blank_frames_wait_s, f"the last {tail.blank_frames} of {tail.frames} frames are blank"

    def _is_proven(self, seen: Observation, expected: int | None) -> bool:
        structure = seen.structure
        if structure is None or expected is None or expected < self.min_frames:
            return False
        return structure.whole and not structure.tail_is_zero and structure.frame_count == expected

    def _give_up_or_wait(self, what: str, advice: str, silent_s: float) -> Verdict:
        if silent_s < self.give_up_s:
            return self._wait(what, silent_s, self.give_up_s)
        return Quarantine(f"{what.rstrip('.')}. Nothing changed for {_duration(silent_s)}: {advice}")

    def _wait(self, reason: str, silent_s: float, until_s: float) -> Wait:
        interval_s = min(max(silent_s / 20, self.look_every_s), self.slowest_look_s)
        return Wait(reason, max(min(until_s - silent_s, interval_s), _SHORTEST_PAUSE_S))


def _missing_data(tail: ZeroTail) -> str:
    """Say what is missing from a full-size file that ends in zeros; empty when it may be as the camera wrote it."""
    if tail.filled_frames == 0:
        return f"none of its {tail.frames} frames holds data: space was reserved for a copy that did not follow"
    if tail.last_filled < _EDGE_FILLED:
        return (
            f"the data end at {tail.last_filled:.0%} of frame {tail.filled_frames} of {tail.frames}, "
            "only zeros follow: a copy into reserved space that stopped"
        )
    if tail.blank_frames > tail.frames * _BLANK_FRAMES_ALLOWED:
        return f"the last {tail.blank_frames} of {tail.frames} frames hold no data"
    return ""


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 120 else f"{seconds:.0f} s"
