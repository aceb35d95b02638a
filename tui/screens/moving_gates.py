"""Letting moved gates hold, and taking the last move back: after a question that says what follows."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from daemon.errors import ElcanoError
from daemon.messages.curation import LimitsMove
from tui.core.gate_words import changes_words, consequences, refused_words
from tui.core.micrographs import BY_HAND
from tui.core.spans import count_of, show_moment
from tui.screens.ask_line import ask_why
from tui.screens.base import ElcanoScreen

_PATIENCE_S = 120.0
_Former = tuple[str, tuple[LimitsMove, dict[str, float | None]]]


def apply_moved(
    screen: ElcanoScreen, sessions: Sequence[str], moved: Mapping[str, float | None], then: Callable[[], None]
) -> None:
    """Ask the daemon what the moved limits mean, then the person whether and why, then let them hold."""
    asked = [{"session": name, "limits": dict(moved)} for name in sessions]

    def decide(before: Sequence[Any], previews: Sequence[Any]) -> None:
        about = screen.model.call(sessions[0]) if len(sessions) == 1 else count_of(len(sessions), "session")
        details = changes_words(dict(moved), [answer["limits"] for answer in before])
        details += _told(screen, sessions, before, previews)
        ask_why(
            screen,
            f"Move the gates of {about}?",
            details,
            lambda why: _act(screen, asked, why, "Moved", then),
        )

    _preview(screen, asked, decide)


def undo_move(screen: ElcanoScreen, former: Sequence[_Former], then: Callable[[], None]) -> None:
    """Go back to what people had set before the last move, and whatever was configured where nothing was."""
    asked = [{"session": name, "limits": limits, "reset": True} for name, (_, limits) in former]
    sessions = [name for name, _ in former]

    def decide(before: Sequence[Any], previews: Sequence[Any]) -> None:
        now_s = screen.terminal.clock_s()
        details = [
            f"{screen.model.call(name)}: moved {show_moment(move.at_s, now_s)} by {move.asked_by}"
            f"{f': {move.why}' if move.why else ''}"
            for name, (move, _) in former
        ]
        for old, new in zip(before, previews, strict=True):
            differ = {key: limit for key, limit in new["limits"].items() if old["limits"][key] != limit}
            details += [line for line in changes_words(differ, [old["limits"]]) if line not in details]
        details += _told(screen, sessions, before, previews)
        about = screen.model.call(sessions[0]) if len(sessions) == 1 else count_of(len(sessions), "session")
        ask_why(
            screen,
            f"Undo the last move of the gates of {about}?",
            details,
            lambda why: _act(screen, asked, why, "Undone", then),
            typed="undo",
        )

    _preview(screen, asked, decide)


def _preview(
    screen: ElcanoScreen,
    asked: Sequence[Mapping[str, Any]],
    then: Callable[[Sequence[Any], Sequence[Any]], None],
) -> None:
    async def ask() -> None:
        link = screen.terminal.link
        try:
            before = [await link.ask("gates", {"session": one["session"]}, timeout_s=_PATIENCE_S) for one in asked]
            previews = [await link.ask("gates", one, timeout_s=_PATIENCE_S) for one in asked]
        except ElcanoError as error:
            screen.tell(str(error), is_trouble=True)
            return
        if screen.is_ready:
            then(before, previews)

    screen.run_beside(ask)


def _act(
    screen: ElcanoScreen,
    asked: Sequence[Mapping[str, Any]],
    why: str,
    verb: str,
    then: Callable[[], None],
) -> None:
    """Move them one session after the other; what was refused is told, the others stand.

    Without the token of the preview: while movies come one is judged every few seconds, and by the time that somebody
    has read the question the daemon would refuse. What came of it is told instead.
    """

    async def act() -> None:
        done = []
        for one in asked:
            arguments = {**one, "why": why}
            try:
                done.append(await screen.terminal.link.ask("session.thresholds", arguments, timeout_s=_PATIENCE_S))
            except ElcanoError as error:
                screen.tell(f"{screen.model.call(one['session'])}: {error}", is_trouble=True)
        if done and screen.is_ready:
            passes = sum(answer["passes"] for answer in done)
            refused = sum(answer["refused"] - answer["by_gate"].get(BY_HAND, 0) for answer in done)
            told = [", ".join(words) for answer in done if (words := consequences(answer))]
            screen.tell(". ".join([f"{verb}: {passes} pass, {refused} are refused", *told[:3]]) + ".")
            then()

    screen.run_beside(act)


def _told(screen: ElcanoScreen, sessions: Sequence[str], before: Sequence[Any], previews: Sequence[Any]) -> list[str]:
    lines = []
    for name, old, new in zip(sessions, before, previews, strict=True):
        change = new["passes"] - old["passes"]
        words = [f"{new['passes']} pass ({change:+d})", refused_words(new), *consequences(new)]
        lines.append(f"{screen.model.call(name)}: {', '.join(words)}")
    if any(new["undecided"] for new in previews):
        lines.append("Those not judged yet are judged by the same limits as they come.")
    return lines
