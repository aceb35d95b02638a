"""What is said of gates and of what they refuse."""

from collections.abc import Mapping, Sequence
from typing import Any

from daemon.messages.curation import LimitsMove, MeasureInfo
from tui.core.calling import session_pieces
from tui.core.curve import Curve, Point
from tui.core.gate_desk import Facts, GateDesk, View
from tui.core.micrographs import BY_HAND
from tui.core.plot import SIGNS
from tui.core.spans import count_of, show_moment
from tui.core.states import Tone
from tui.core.text import show_line

_Piece = tuple[str, Tone]


def limit_words(limit: float | None, unit: str) -> str:
    """A limit, or off."""
    return "off" if limit is None else f"{limit:g}{unit}"


def value_words(value: float | None, unit: str) -> str:
    """A value to four digits."""
    if value is None:
        return "–"
    return f"{value:.0f}{unit}" if abs(value) >= 1000 else f"{value:.4g}{unit}"


def range_words(facts: Facts) -> str:
    """Least and largest value."""
    return "" if facts.low is None else f"{value_words(facts.low, '')} … {value_words(facts.high, '')}"


def share_words(count: int, whole: int) -> str:
    """A share in percent: 100 % are all, 0 % are none."""
    percent = round(100 * count / whole) if whole else 0
    return f"{percent if count in {0, whole} else min(max(percent, 1), 99)} %"


def refused_words(answer: Mapping[str, Any]) -> str:
    """How many the gates refuse; those that a person rejected are not the gates' doing."""
    by_hand = answer["by_gate"].get(BY_HAND, 0)
    return _refused_words(answer["refused"] - by_hand, by_hand)


def _refused_words(refused: int, by_hand: int) -> str:
    return f"{refused} refused" + (f", {by_hand} rejected by hand" if by_hand else "")


def headline(desk: GateDesk, view: View | None, is_about_all: bool, title: str = "") -> list[_Piece]:
    """Which sessions, and how many pass as the gates stand or are moved; `title` is that of the only one."""
    sessions = desk.sessions
    every: list[_Piece] = [(f"all {count_of(len(sessions), 'session')}", "strong")]
    images = sum(len(curation.images) for curation in desk.curations)
    pieces: list[_Piece] = [(" ", "plain"), *(every if is_about_all else session_pieces(title, sessions[0]))]
    pieces.append((f"  {count_of(images, 'micrograph')}", "plain"))
    if view is None:
        return [*pieces, ("  counting…", "dim")]
    totals = {key: sum(one.counts[key] for one in view.judged) for key in ("passes", "refused", "failed", "undecided")}
    share = f" ({share_words(totals['passes'], images)})" if images else ""
    totals["by hand"] = view.refused_by([BY_HAND])
    totals["refused"] -= totals["by hand"]
    about = "as moved: " if desk.moved else ""
    pieces += [(f"   {about}{totals['passes']} pass{share}", "done")]
    for key, words, tone in (
        ("refused", "refused", "failed"),
        ("by hand", "rejected by hand", "warning"),
        ("failed", "without numbers", "failed"),
        ("undecided", "not known yet", "waiting"),
    ):
        if totals[key]:
            pieces.append((f", {totals[key]} {words}", tone))  # type: ignore[arg-type]
    stages = {gate.stage for curation in desk.curations for gate in curation.answer.gates}
    distrusted = view.refused_by(sorted(stages))
    if distrusted:
        pieces.append((f"  ({distrusted} for fits not to be trusted)", "dim"))
    return pieces


def preview_words(desk: GateDesk, *, may_ask: bool) -> list[_Piece]:
    """What applying the moved limits would do, by the daemon's word; `may_ask`: whether it answers such questions."""
    names = ", ".join(desk.moved)
    pieces: list[_Piece] = [(" ✎ not applied: ", "warning")]
    if desk.exact is None:
        pieces.append(("asking the daemon…", "dim") if may_ask else ("the daemon cannot be asked", "warning"))
    else:
        by_hand = desk.exact["by_hand"]
        refused = _refused_words(desk.exact["refused"] - by_hand, by_hand)
        pieces.append((f"{desk.exact['passes']} pass, {refused}", "strong"))
        pieces += [(f", {words}", "plain") for words in consequences(desk.exact)]
    return [*pieces, ("  a: apply  Esc: drop  ", "dim"), (show_line(names, 80), "warning")]


def consequences(answer: dict[str, int]) -> list[str]:
    """What happens to steps when the gates are moved so."""
    told = ((answer["tasks_reopened"], "taken up again"), (answer["tasks_skipped"], "skipped"))
    return [f"{count_of(count, 'step')} {words}" for count, words in told if count]


def legend(curve: Curve, against: MeasureInfo | None) -> list[_Piece]:
    """What is on the axes, and what the signs mean, with how many of each."""
    y = f"{curve.measure.title}{_unit(curve.measure)}"
    x = "time" if against is None else f"{against.title}{_unit(against)}"
    pieces: list[_Piece] = [(f" {y} over {x}  ", "strong")]
    for kind, (sign, words, tone) in enumerate(SIGNS):
        count = sum(point.kind == kind for point in curve.points)
        if count:
            pieces += [(f" {sign}", tone), (f" {count} {words} ", "plain")]
    if curve.missing:
        pieces.append((f" {curve.missing} without it", "dim"))
    return pieces


def point_words(point: Point, curve: Curve, against: MeasureInfo | None, now_s: float) -> list[_Piece]:
    """The micrograph under the cursor."""
    x = show_moment(point.x, now_s) if against is None else value_words(point.x, against.unit)
    sign, words, tone = SIGNS[point.kind]
    return [
        (" ◆ ", "strong"),
        (show_line(point.name, 80), "plain"),
        (f"  {value_words(point.y, curve.measure.unit)}  {x}  ", "plain"),
        (f"{sign} {words}", tone),
        ("   Enter: open it", "dim"),
    ]


def move_words(move: LimitsMove, now_s: float) -> list[_Piece]:
    """Who moved the gates last, and why."""
    why = f": {show_line(move.why, 120)}" if move.why else ""
    set_here = ", ".join(f"{name} {limit_words(limit, '')}" for name, limit in sorted(move.limits.items()))
    what = f"  ({show_line(set_here, 120)})" if set_here else "  (back to config.toml)"
    who = show_line(move.asked_by, 80) or "somebody"
    return [(f" moved {show_moment(move.at_s, now_s)} by {who}{why}", "plain"), (f"{what}   u: undo", "dim")]


def changes_words(moved: dict[str, float | None], before: Sequence[dict[str, float | None]]) -> list[str]:
    """Each limit that is moved, from where to where."""
    lines = []
    for name, limit in moved.items():
        stood = sorted({limit_words(one.get(name), "") for one in before})
        lines.append(f"{name}: {' / '.join(stood)} → {limit_words(limit, '')}")
    return lines


def _unit(measure: MeasureInfo) -> str:
    unit = measure.unit.strip()
    return f" [{unit}]" if unit else ""
