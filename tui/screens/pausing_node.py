"""Pausing the whole node for maintenance, and going on."""

from typing import Any

from tui.core.spans import count_of, show_moment
from tui.screens.ask_line import ask_why
from tui.screens.base import ElcanoScreen


def toggle_node(screen: ElcanoScreen) -> None:
    """Begin nothing new at all, or go on, once that is confirmed and a reason could be given."""
    pause = screen.model.pause_of(None)
    left = sum(job.total.left for job in screen.model.jobs.rows)
    waits = f"{count_of(left, 'step')} wait or run."
    if pause is None:
        question = "Pause the node?"
        details = [waits, "What runs is finished, nothing new begins; movies go on being seen and proven."]
    else:
        question = "Go on with everything?"
        since = show_moment(pause["since_s"], screen.terminal.clock_s())
        why = f": {pause['why']}" if pause["why"] else ""
        details = [f"Paused since {since} by {pause['asked_by']}{why}", waits]
    verb = "pause" if pause is None else "resume"

    def act(why: str) -> None:
        def told(_: Any) -> str:
            return "The node is paused." if verb == "pause" else "The node goes on."

        screen.command(f"node.{verb}", {"why": why}, told)

    ask_why(screen, question, details, act)
