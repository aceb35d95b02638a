"""Does the daemon keep up, what limits it, and what comes of it: arithmetic on rates, counts and times."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from daemon.engine.pace import LATELY_S, READING, WRITING, PartPace
from daemon.messages.live import BottleneckKind, Outlook

_AT_EASE_S = 600.0
"""A backlog that is gone sooner is no falling behind, nor…"""
_AT_EASE_AGAIN_S = 300.0
"""…one that was, once it would be gone sooner than this: what is told must not come and go."""
_FEW = 5
"""Nor is one of so few movies."""
_FULL = 0.9
"""Share of its time from which on a part works without pause, within what can be measured."""
_SLOWED = 1.5
"""A part that takes this many times what it took is told as slowed…"""
_WEIGHTY = 0.25
"""…where that makes up such a share of the time that a movie takes."""


@dataclass(frozen=True)
class Hold:
    """What keeps movies from being begun at all."""

    kind: BottleneckKind
    what: str


@dataclass(frozen=True)
class Load:
    """What there is to do, over the window: movies an hour that came, and that ended; those that wait."""

    arriving_per_hour: float
    processed_per_hour: float
    backlog: int
    in_flight: int


@dataclass(frozen=True)
class _Limit:
    """A kind of thread, and how many movies an hour it can do at most."""

    parts: Sequence[PartPace]
    lanes: int
    seconds_per_movie: float
    busy_share: float

    @property
    def per_hour(self) -> float:
        return 3600 * self.lanes / self.seconds_per_movie


def foresee(
    load: Load,
    parts: Sequence[PartPace],
    lanes: Mapping[str, int],
    window_s: float,
    hold: Hold | None = None,
    *,
    was_behind: bool = False,
) -> Outlook:
    """Tell how things go. `lanes`: threads that read and write; what is no such part is a step, and these take turns
    on one thread. `window_s` is the time that `parts` cover; before it is full, the first movies and what they had to
    load are all there is to judge by, and nothing is called falling behind but what is held up.
    """
    limits = _limits(parts, lanes, window_s)
    tightest = min(limits, key=lambda limit: limit.per_hour, default=None)
    capacity = None if tightest is None else _capacity(load, tightest)
    behind_s = None if capacity is None else 3600 * load.backlog / capacity
    grows = load.arriving_per_hour > load.processed_per_hour
    eases_at_s = _AT_EASE_AGAIN_S if was_behind else _AT_EASE_S
    is_slow = behind_s is None or behind_s > eases_at_s or (grows and _is_full(tightest))
    is_behind = load.backlog > _FEW + load.in_flight and (hold is not None or (window_s >= LATELY_S and is_slow))
    slowest, kind = _name(tightest)
    speed = 0.0 if hold is not None else capacity
    later = None if speed is None else max(0, round(load.backlog - speed + load.arriving_per_hour))
    spare = None if speed is None else speed - load.arriving_per_hour
    return Outlook(
        is_behind=is_behind,
        bottleneck=hold.what if hold is not None else slowest.name if slowest is not None else "",
        kind=kind if hold is None else hold.kind,
        seconds_per_movie=slowest.mean_s if slowest is not None and hold is None else None,
        times_usual=_times_usual(slowest) if slowest is not None and hold is None else None,
        arriving_per_hour=load.arriving_per_hour,
        processed_per_hour=load.processed_per_hour,
        capacity_per_hour=capacity,
        backlog=load.backlog,
        backlog_in_1h=later,
        wait_in_1h_s=3600 * later / speed if later is not None and speed else None,
        caught_up_in_s=3600 * load.backlog / spare if spare is not None and spare > 0 else None,
    )


def _limits(parts: Sequence[PartPace], lanes: Mapping[str, int], window_s: float) -> list[_Limit]:
    """Group parts by the threads they run on; what a movie takes there is counted over the movies of the window."""
    steps = [part for part in parts if part.name not in lanes]
    movies = max((part.count for part in steps), default=0)
    found = []
    per_movie_s = sum(part.mean_s or 0.0 for part in steps)
    if per_movie_s > 0:
        found.append(_Limit(steps, 1, per_movie_s, sum(part.busy_s for part in steps) / window_s))
    for part in parts:
        if part.name in lanes and movies and part.busy_s > 0:
            share = part.busy_s / (window_s * lanes[part.name])
            found.append(_Limit([part], lanes[part.name], part.busy_s / movies, share))
    return found


def _capacity(load: Load, tightest: _Limit) -> float:
    """What was done while everything was busy is what can be done; else what the times of the parts allow."""
    if load.backlog > load.in_flight and _is_full(tightest) and load.processed_per_hour > 0:
        return min(load.processed_per_hour, tightest.per_hour)
    return tightest.per_hour


def _is_full(limit: _Limit | None) -> bool:
    return limit is not None and limit.busy_share >= _FULL


def _name(tightest: _Limit | None) -> tuple[PartPace | None, BottleneckKind]:
    """Name what limits: a part that has become slow and weighs, else the one that takes most."""
    if tightest is None:
        return None, ""
    weights = {part.name: part.mean_s or 0.0 for part in tightest.parts}
    whole_s = sum(weights.values())

    def excess_s(part: PartPace) -> float:
        times = _times_usual(part)
        if times is None or times < _SLOWED or part.usual_s is None or part.mean_s is None:
            return 0.0
        gone_s = part.mean_s - part.usual_s
        return gone_s if gone_s >= _WEIGHTY * whole_s else 0.0

    named = max(tightest.parts, key=lambda part: (excess_s(part), weights[part.name]))
    kinds: Mapping[str, BottleneckKind] = {READING: "reading", WRITING: "writing"}
    return named, kinds.get(named.name, "stage")


def _times_usual(part: PartPace) -> float | None:
    return part.mean_s / part.usual_s if part.mean_s is not None and part.usual_s else None
