"""How a daemon is, in one line: what `systemctl status` shows."""

from collections.abc import Mapping, Sequence

from daemon.domain.states import MovieState

_UNDERWAY = (MovieState.SEEN, MovieState.SETTLING, MovieState.COMPLETE)
_TROUBLED = (MovieState.FAILED, MovieState.QUARANTINED)


def pause_words(stage: str | None, session: str | None) -> str:
    """Say what a pause holds: one without stage holds them all, one without session everything."""
    if session is None:
        return stage or "everything"
    return f"{stage} of {session}" if stage else f"session {session}"


def status_line(movies: Mapping[MovieState, int], *, paused: Sequence[str] = (), troubles: Sequence[str] = ()) -> str:
    """Return movies done and waiting, what is paused, and what is wrong."""
    waiting = sum(movies.get(state, 0) for state in _UNDERWAY)
    parts = [f"{movies.get(MovieState.DONE, 0)} movies done, {waiting} waiting"]
    parts += [f"{movies[state]} {state}" for state in _TROUBLED if movies.get(state)]
    line = ", ".join(parts)
    if paused:
        line += f"; paused: {', '.join(paused)}"
    return f"{line}; {'; '.join(troubles)}" if troubles else line
