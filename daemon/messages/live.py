"""How a daemon keeps up: what is asked, and answers typed at both ends."""

from typing import Annotated, Literal

import msgspec

from daemon.messages.arguments import Arguments


class LiveQuery(Arguments, frozen=True, kw_only=True):
    """Latency, rates and what limits them; rates over the last `window_s`."""

    window_s: Annotated[float, msgspec.Meta(ge=300, le=86_400)] = 3600.0


DiskKind = Literal["home", "state", "raw"]


class DiskLoad(msgspec.Struct, frozen=True, kw_only=True):
    """A place on disk that the daemon needs, as it sees it through its own mount."""

    what: DiskKind
    path: str
    free_bytes: int | None = None
    """None where it cannot be told: `trouble` says why."""
    total_bytes: int | None = None
    reserve_bytes: int = 0
    """No movie is begun while less is free."""
    full_in_s: float | None = None
    """Until the reserve is reached, should it fill as it did lately; None where it does not fill."""
    trouble: str = ""


BottleneckKind = Literal["stage", "reading", "writing", "pause", "disk", ""]


class Outlook(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the daemon keeps up, what limits it, and what comes of it. Rates are movies an hour."""

    is_behind: bool
    bottleneck: str = ""
    """The step that most of the time goes into, or that became slow; `reading` or `writing`; else what holds it up."""
    kind: BottleneckKind = ""
    seconds_per_movie: float | None = None
    """What the bottleneck takes now…"""
    times_usual: float | None = None
    """…and by which factor that is more than before; None where there is no before."""
    arriving_per_hour: float
    processed_per_hour: float
    capacity_per_hour: float | None = None
    """What the node can do at most; None until it has processed some."""
    backlog: int
    """Movies proven whole that are not done yet."""
    backlog_in_1h: int | None = None
    wait_in_1h_s: float | None = None
    """How long a movie that arrives then would wait."""
    caught_up_in_s: float | None = None
    """Until the backlog is gone; None where it does not go."""


class LatencyWindow(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds from a movie's last write to its first CTF, of those completed in the last `window_s`."""

    window_s: float
    count: int
    p50_s: float | None = None
    p95_s: float | None = None
    p99_s: float | None = None


class WatcherLag(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds from a movie's last write until it was seen, and until it was proven whole.

    Of those proven in the window and written since their session was imported.
    """

    count: int
    seen_p50_s: float | None = None
    seen_p95_s: float | None = None
    proven_p50_s: float | None = None
    proven_p95_s: float | None = None


class StepPace(msgspec.Struct, frozen=True, kw_only=True):
    """What a step, reading or writing takes of its own, waiting for its turn left out."""

    name: str
    count: int
    """How many of them ended lately."""
    seconds_per_movie: float | None
    usual_s: float | None
    """Before; None where there is no before."""
    busy_percent: float
    """Of what it runs on, lately."""


class LiveAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """How a daemon keeps up; counts by `bucket_s`, the oldest first, the last one still growing."""

    at_s: float
    window_s: float
    bucket_s: float
    seen: list[int]
    processed: list[int]
    """What failed is not among them."""
    failed: list[int] = []
    latency: list[LatencyWindow]
    watcher: WatcherLag
    unproven: int
    """Movies seen that are not proven whole yet."""
    steps: list[StepPace]
    outlook: Outlook
