"""A project, a session and an image, in lines."""

from collections.abc import Mapping
from typing import Any

from daemon.messages.sessions import ImageCounts, SessionAnswer, SessionInfo
from tui.core.calling import session_pieces
from tui.core.micrographs import BY_HAND, show_verdict
from tui.core.session_tree import TreeRow
from tui.core.spans import count_of, show_moment, show_span
from tui.core.states import Shown, Tone
from tui.core.text import show_line
from tui.widgets.bars import count_bar
from tui.widgets.paragraphs import Line, pair_lines, text_lines, title_line
from tui.widgets.tones import Piece, state_pieces

_MOVIES: Mapping[str, Shown] = {
    "seen": Shown("·", "seen", "waiting"),
    "settling": Shown("·", "arriving", "waiting"),
    "complete": Shown("▸", "in work", "running"),
    "done": Shown("✓", "done", "done"),
    "failed": Shown("✗", "failed", "failed"),
    "quarantined": Shown("✗", "set aside", "failed"),
}
_SESSIONS: Mapping[str, Shown] = {"open": Shown("○", "open", "running"), "closed": Shown("●", "closed", "done")}
_SEVERITIES: Mapping[str, tuple[str, Tone]] = {"warning": ("⚠ ", "warning"), "error": ("✗ ", "failed")}
_BY_GATES = {True: "passes the gates", False: "refused by the gates"}
_BY_HAND = {True: "accepted by hand", False: "rejected by hand"}
_MOST_TOLD = 6


def show_state(row: TreeRow, *, is_paused: bool) -> list[Piece]:
    """How a row stands, in a sign and a word."""
    if row.node is not None:
        if not row.node.state:
            return [(row.what, "dim")]
        if row.node.passes is False and row.node.state == "done":
            return state_pieces(show_verdict(False, BY_HAND if row.node.by_hand else ""))
        return state_pieces(_MOVIES.get(row.node.state, Shown("?", row.node.state, "warning")))
    if row.session is None:
        return [("", "dim")]
    if is_paused and row.session.state == "open":
        return [("‖ paused", "warning")]
    return state_pieces(_SESSIONS.get(row.session.state, Shown("?", row.session.state, "warning")))


def draw_project(row: TreeRow, sessions: int) -> list[Line]:
    """What all sessions of a project have done together."""
    head: Line = [(f" {show_line(row.name, 100)}", "strong"), (f"  {count_of(sessions, 'session')}", "dim")]
    return [head, *_counted(row.counts, row)]


def draw_node(row: TreeRow, width: int) -> list[Line]:
    """One image of the tree, and the exposures below it."""
    node = row.node
    assert node is not None
    lines: list[Line] = [[(f" {show_line(node.name, 120)}", "strong"), (f"  {row.what}  ", "dim")]]
    if node.state:
        lines[0] += show_state(row, is_paused=False)
    if node.passes is not None:
        said = _BY_HAND if node.by_hand else _BY_GATES
        lines += text_lines(said[node.passes], width, "plain")
    if node.reason:
        lines += text_lines(node.reason, width, "warning", sign="⚠ ")
    if node.children:
        lines += _counted(row.counts, row)
    elif not node.state:
        lines += text_lines("no movie of it has come", width, "dim")
    return [*lines, [("", "plain")]]


def draw_session(
    info: SessionInfo, told: SessionAnswer | str | None, pause: Mapping[str, Any] | None, now_s: float, width: int
) -> list[Line]:
    """One session: what is wrong first, then how it stands, then how it was taken."""
    head: Line = [(" ", "plain"), *session_pieces(info.title, info.name), ("  ", "plain")]
    lines: list[Line] = [[*head, *state_pieces(_SESSIONS.get(info.state, Shown("?", info.state, "warning")))]]
    if pause is not None:
        lines += text_lines(f"paused by {pause['asked_by']}", width, "warning", sign="‖ ")
    answer = told if isinstance(told, SessionAnswer) else None
    if answer is not None:
        lines += _troubles(answer, width)
    elif told is not None:
        lines += text_lines(str(told), width, "failed", sign="✗ ")
    pairs = [("exposures", _words(info.counts)), ("gates", _verdict(info.counts, answer))]
    if answer is not None and answer.latency:
        pairs.append(("file to CTF", answer.latency))
    ended_s = info.closed_at_s
    began = f"{show_moment(info.created_at_s, now_s)}, for {show_span((ended_s or now_s) - info.created_at_s)}"
    pairs += [("imported", began + (f", by {answer.imported_by}" if answer and answer.imported_by else ""))]
    pairs += [("raw data", info.raw_directory), ("results", info.home)]
    lines += pair_lines(pairs, width)
    return [
        *lines,
        *(_told(answer, now_s, width) if answer is not None else [[("   asking…", "dim")]] * (told is None)),
    ]


def _troubles(answer: SessionAnswer, width: int) -> list[Line]:
    lines = []
    for trouble in answer.troubles:
        lines += text_lines(trouble, width, "failed", sign="✗ ")
    if answer.closing:
        lines += text_lines(f"will be closed: {answer.closing}", width, "warning", sign="⚠ ")
    for note in answer.notes:
        lines += text_lines(note, width, "warning", sign="⚠ ")
    for left in answer.left_alone:
        lines += text_lines(left, width, "dim", sign="» ")
    return lines


def _told(answer: SessionAnswer, now_s: float, width: int) -> list[Line]:
    lines: list[Line] = [title_line("how it was taken")]
    lines += text_lines(", ".join(said for _, said in answer.acquisition), width)
    if not answer.acquisition:
        lines += text_lines("nobody has said; what movies' headers say is used", width, "dim")
    if len(answer.optics_groups) > 1 or any(group.said for group in answer.optics_groups):
        groups = ((f"group {g.number}", f"{count_of(g.images, 'image')}  {g.said}") for g in answer.optics_groups)
        lines += [title_line("optics groups"), *pair_lines(groups, width)]
    said = [(key.removeprefix("session.").replace(".", " "), text) for key, text in answer.manifest.items()]
    if said:
        lines += [title_line("session.json says"), *pair_lines(said, width)]
    if answer.told:
        lines.append(title_line("told"))
        for note in answer.told[:_MOST_TOLD]:
            sign, tone = _SEVERITIES.get(note.severity, ("· ", "plain"))
            lines += text_lines(f"{show_moment(note.at_s, now_s)} {note.message} {note.hint}", width, tone, sign=sign)
    report = answer.report or "none yet: w writes it"
    rest = [("steps", ", ".join(answer.stages)), ("report", report)]
    rest += [("titled by", answer.titled_by)] if answer.titled_by else []
    return [*lines, title_line("and"), *pair_lines(rest, width)]


def _words(counts: ImageCounts) -> str:
    said = [f"{counts.exposures}: {counts.done} done"]
    said += [f"{counts.failed} failed"] if counts.failed else []
    said += [f"{counts.waiting} wait or run"] if counts.waiting else []
    return ", ".join(said)


def _verdict(counts: ImageCounts, answer: SessionAnswer | None) -> str:
    by_gate = ", ".join(f"{gate} {number}" for gate, number in answer.refusals.items()) if answer else ""
    said = f"{counts.passing} pass, {counts.refused} refused" + (f" ({by_gate})" if by_gate else "")
    said += f", {counts.rejected} rejected by hand" if counts.rejected else ""
    lacking = answer.lacking.items() if answer else ()
    return said + "".join(f", {number} without {stage}, which did not succeed" for stage, number in lacking)


def _counted(counts: ImageCounts, row: TreeRow) -> list[Line]:
    bar = count_bar(row.steps, 30) if counts.exposures else []
    return [
        [("   ", "plain"), *bar, (f"  {_words(counts)}", "plain")],
        [(f"   {_verdict(counts, None)}", "plain")],
    ]
