"""The gates of one session, or of several at once, while a person moves them."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from daemon.messages.curation import CurationAnswer, GateInfo, LimitsMove, MeasureInfo
from tui.core.curation import Curation, Judged
from tui.core.curve import Curve, Point, trace_curve
from tui.core.micrographs import BY_HAND
from tui.core.plot import REFUSED, REFUSED_HERE, REJECTED


@dataclass(frozen=True)
class Facts:
    """A measure over all images: how many have it, of how many, and what it is like."""

    known: int
    images: int
    low: float | None = None
    middle: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class View:
    """What was judged and counted for the screen, on a worker's thread."""

    judged: Sequence[Judged]
    curve: Curve
    facts: dict[str, Facts]

    @property
    def passes(self) -> int:
        """How many pass by this terminal's own count."""
        return sum(judged.counts["passes"] for judged in self.judged)

    def refused_by(self, names: Sequence[str]) -> int:
        """How many any of these gates refuse."""
        return sum(judged.refused_by.get(name, 0) for judged in self.judged for name in names)

    def next_refused(self, now: Point | None, step: int) -> Point | None:
        """Return the next refused point after `now`, or before it; around the ends."""
        points = [point for point in self.curve.points if point.kind in {REFUSED_HERE, REFUSED, REJECTED}]
        if not points:
            return None
        points.sort(key=lambda point: (point.x, point.session, point.name), reverse=step < 0)
        if now is None:
            return points[0]
        here = (now.x, now.session, now.name)
        for point in points:
            key = (point.x, point.session, point.name)
            if key > here if step > 0 else key < here:
                return point
        return points[0]


class GateDesk:
    """Holds the sessions that are meant, and the limits that are moved and do not hold yet."""

    def __init__(self) -> None:
        self.curations: list[Curation] = []
        self.moved: dict[str, float | None] = {}
        self.exact: dict[str, int] | None = None
        """What the daemon says the moved limits mean; None while it has not said it of these."""

    @property
    def lead(self) -> Curation | None:
        """The session whose gates are shown; where several are meant, the first."""
        return self.curations[0] if self.curations else None

    @property
    def measures(self) -> Sequence[MeasureInfo]:
        """Every measure."""
        return self.lead.measures if self.lead else ()

    @property
    def sessions(self) -> list[str]:
        """Names of the sessions that are meant."""
        return [curation.session for curation in self.curations]

    def take(self, answers: Sequence[CurationAnswer]) -> None:
        """Take newer figures; what is moved stays moved, unless it holds by now."""
        self.curations = [Curation(answer) for answer in answers]
        self._spread()

    def clear(self) -> None:
        """Forget everything: other sessions are meant."""
        self.curations, self.moved, self.exact = [], {}, None

    def move(self, name: str, limit: float | None) -> None:
        """Move a gate, in all sessions that are meant; never beyond what its limit may be."""
        gate = self.gate_named(name)
        if limit is not None and gate is not None:
            limit = limit if gate.least is None else max(limit, gate.least)
            limit = limit if gate.most is None else min(limit, gate.most)
        self.moved[name] = None if limit is None else float(f"{limit:.10g}")
        self.exact = None
        self._spread()

    def drop(self) -> None:
        """Let all limits be where they stand."""
        self.moved, self.exact = {}, None
        self._spread()

    def limit(self, gate: GateInfo) -> float | None:
        """Return where a gate stands, or is moved to."""
        return self.moved.get(gate.name, gate.limit)

    def is_mixed(self, gate: GateInfo) -> bool:
        """Whether the sessions have different limits there."""
        limits = {one.limit for curation in self.curations for one in curation.answer.gates if one.name == gate.name}
        return gate.name not in self.moved and len(limits) > 1

    def gate_named(self, name: str) -> GateInfo | None:
        """Return a gate by name."""
        return next((gate for gate in self.lead.answer.gates if gate.name == name), None) if self.lead else None

    def start_of(self, gate: GateInfo) -> float | None:
        """Return from where a gate is moved: its limit, else the configured one, else where it refuses nothing."""
        limit = self.limit(gate)
        if limit is not None:
            return limit
        if gate.limit is not None or gate.configured is not None:
            return gate.limit if gate.limit is not None else gate.configured
        known = self.known(gate.measure)
        return (max(known) if gate.passes_below else min(known)) if known else None

    def known(self, measure: str) -> list[float]:
        """Return every value of a measure."""
        return [value for curation in self.curations for value in curation.values(measure) if value is not None]

    def former(self) -> list[tuple[str, tuple[LimitsMove, dict[str, float | None]]]]:
        """Return, by session, the last move and what people had set before it."""
        return [(one.session, found) for one in self.curations if (found := one.former()) is not None]

    def take_exact(self, answers: Sequence[dict[str, Any]]) -> None:
        """Take what the daemon says of the moved limits, session by session."""
        keys = ("passes", "refused", "undecided", "tasks_reopened", "tasks_skipped")
        self.exact = {key: sum(answer[key] for answer in answers) for key in keys}
        self.exact["by_hand"] = sum(answer["by_gate"].get(BY_HAND, 0) for answer in answers)

    def look(self, measure: MeasureInfo, against: str, cells: tuple[int, int]) -> View:
        """Judge every image and make the curve; takes long enough not to be done where keys are read."""
        judged = [curation.judge() for curation in self.curations]
        curve = trace_curve(self.curations, judged, measure, against, cells)
        return View(judged, curve, {info.key: self._facts(info.key) for info in self.measures})

    def copy(self) -> "GateDesk":
        """Return one for a worker, which nobody changes meanwhile."""
        copied = GateDesk()
        copied.curations = [Curation(curation.answer, dict(curation.moved)) for curation in self.curations]
        copied.moved = dict(self.moved)
        return copied

    def _facts(self, measure: str) -> Facts:
        images = sum(len(curation.images) for curation in self.curations)
        known = self.known(measure)
        return Facts(len(known), images, min(known), median(known), max(known)) if known else Facts(0, images)

    def _spread(self) -> None:
        """Give every session the moved limits; forget those that hold everywhere."""
        names = set()
        for curation in self.curations:
            curation.moved = {}
            for gate in curation.answer.gates:
                if gate.name in self.moved:
                    curation.move(gate, self.moved[gate.name])
            names |= set(curation.moved)
        self.moved = {name: limit for name, limit in self.moved.items() if name in names}
