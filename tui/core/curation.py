"""A session's figures, its gates as they hold and as they are being moved, and what that would mean.

Judges as the daemon does (daemon.pipeline.gate: a test compares the two); what counts in the end is the daemon's word.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from daemon.messages.curation import STANDINGS, CurationAnswer, GateInfo, ImageFigures, LimitsMove, MeasureInfo
from tui.core.plot import PASSES, REFUSED, REFUSED_HERE, REJECTED, UNKNOWN

_NONE, _WAITING, _DONE, _DISTRUSTED, _FAILED, _CANCELLED = range(len(STANDINGS))
_NO_GATE = -1
Limits = Mapping[str, float | None]


@dataclass(frozen=True)
class Judged:
    """What the gates say of all images: those that pass (True), do not (False), are not known (None), and why not."""

    passes: Sequence[bool | None]
    by_gate: Sequence[int]
    """Number of the gate that refuses; else `_NO_GATE`."""
    counts: Mapping[str, int]
    """Passing, refused, undecided and failed images, in the words of the daemon's answer."""
    refused_by: Mapping[str, int]
    """By gate; by stage where it does not trust its numbers."""


@dataclass
class Curation:
    """One session, as a person moves its gates; `moved` are limits that do not hold yet."""

    answer: CurationAnswer
    moved: dict[str, float | None] = field(default_factory=dict)

    @property
    def session(self) -> str:
        """Its name."""
        return self.answer.session

    @property
    def images(self) -> Sequence[ImageFigures]:
        """In the order of their movies' last writes."""
        return self.answer.images

    @property
    def measures(self) -> Sequence[MeasureInfo]:
        """Those with gates first."""
        return self.answer.measures

    def gates_of(self, measure: str) -> list[GateInfo]:
        """Return the gates that limit a measure."""
        return [gate for gate in self.answer.gates if gate.measure == measure]

    def gate(self, measure: str, *, passes_below: bool) -> GateInfo | None:
        """Return the gate that limits a measure from above (`passes_below`) or from below."""
        return next((gate for gate in self.gates_of(measure) if gate.passes_below is passes_below), None)

    def limit(self, gate: GateInfo) -> float | None:
        """Return where a gate stands, or is being moved to."""
        return self.moved.get(gate.name, gate.limit)

    def limits(self) -> dict[str, float | None]:
        """Return every limit, those that are being moved as moved."""
        return {gate.name: self.limit(gate) for gate in self.answer.gates}

    def move(self, gate: GateInfo, limit: float | None) -> None:
        """Move a gate, for now only here; back to where it stands is not moved."""
        if limit == gate.limit:
            self.moved.pop(gate.name, None)
        else:
            self.moved[gate.name] = limit

    def take(self, answer: CurationAnswer) -> None:
        """Take newer figures; what is being moved goes on being moved."""
        self.answer = answer
        standing = {gate.name: gate.limit for gate in answer.gates}
        self.moved = {name: limit for name, limit in self.moved.items() if standing.get(name, limit) != limit}

    def former(self) -> tuple[LimitsMove, dict[str, float | None]] | None:
        """Return the last move of the gates, and what people had set before it; None where nobody moved them."""
        moves = self.answer.moves
        if not moves:
            return None
        return moves[0], dict(moves[1].limits) if len(moves) > 1 else {}

    def values(self, measure: str) -> list[float | None]:
        """Return a measure of every image."""
        column = [info.key for info in self.measures].index(measure)
        return [image.values[column] for image in self.images]

    def judge(self, limits: Limits | None = None) -> Judged:
        """Judge every image by limits; by those that are being moved where none are given."""
        return judge_all(self.answer, self.limits() if limits is None else limits)

    def kinds(self, judged: Judged, measure: str) -> list[int]:
        """Return the kind of each image's point on a plot of a measure."""
        here = {number for number, gate in enumerate(self.answer.gates) if gate.measure == measure}
        return [
            _kind(image, passes, is_here=gate in here)
            for image, passes, gate in zip(self.images, judged.passes, judged.by_gate, strict=True)
        ]


def _kind(image: ImageFigures, passes: bool | None, *, is_here: bool) -> int:
    if passes is None:
        return UNKNOWN
    if passes:
        return PASSES
    if image.mark is not None:
        return REJECTED  # no gate's doing
    return REFUSED_HERE if is_here else REFUSED


def judge_all(answer: CurationAnswer, limits: Limits) -> Judged:
    """Judge every image of a session; the first gate that refuses it counts, a person's word stands above all."""
    columns = {info.key: column for column, info in enumerate(answer.measures)}
    stages = {stage: number for number, stage in enumerate(answer.stages)}
    asked = [
        (number, gate, limit, columns[gate.measure], stages[gate.stage])
        for number, gate in enumerate(answer.gates)
        if (limit := limits.get(gate.name)) is not None
    ]
    judging = {stages[gate.stage] for gate in answer.gates}
    passes: list[bool | None] = []
    by_gate: list[int] = []
    refused: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    for image in answer.images:
        verdict, number, words, lacks = _judge(image, asked, judging)
        passes.append(verdict)
        by_gate.append(number)
        if verdict is False:
            (failed if lacks else refused)[words] += 1
    counts = {
        "passes": passes.count(True),
        "refused": refused.total(),
        "undecided": passes.count(None),
        "failed": failed.total(),
    }
    return Judged(passes, by_gate, counts, refused)


_Asked = tuple[int, GateInfo, float, int, int]
_Verdict = tuple[bool | None, int, str, bool]


def _judge(image: ImageFigures, asked: Sequence[_Asked], judging: set[int]) -> _Verdict:
    """Return whether an image passes, the gate that refuses it, as what it counts, and if numbers are lacking."""
    if image.mark is not None:
        return image.mark, _NO_GATE, "by hand", False
    if any(image.standings[stage] == _CANCELLED for stage in judging):
        return None, _NO_GATE, "", False
    is_open = False
    for number, gate, limit, column, stage in asked:
        standing = image.standings[stage]
        if standing == _WAITING:
            is_open = True
        elif standing == _FAILED:
            return False, _NO_GATE, gate.stage, True
        elif standing == _DISTRUSTED and gate.distrusts:
            return False, _NO_GATE, gate.stage, False
        elif standing != _NONE and not _is_within(image.values[column], gate, limit):
            return False, number, gate.name, False
    return (None if is_open else True), _NO_GATE, "", False


def _is_within(value: float | None, gate: GateInfo, limit: float) -> bool:
    if value is None:
        return not gate.is_needed
    return value <= limit if gate.passes_below else value >= limit
