"""What a session is called: by the title that people gave it, and by its name, which commands take."""

from tui.core.states import Tone
from tui.core.text import show_line

_LONGEST = 60


def call_session(title: str, name: str) -> str:
    """Return title and name in one line; the name alone where there is no title."""
    return f"{show_line(title, _LONGEST)} ({show_line(name, _LONGEST)})" if title else show_line(name, _LONGEST)


def session_pieces(title: str, name: str) -> list[tuple[str, Tone]]:
    """Return the same as it heads a screen, without spaces around it."""
    if not title:
        return [(show_line(name, _LONGEST), "strong")]
    return [(show_line(title, _LONGEST), "strong"), (f" ({show_line(name, _LONGEST)})", "dim")]
