"""How a run that ends by itself went, in words and as an answer to "is everything well?"."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio

from daemon.domain.states import MovieState, TaskState
from daemon.engine.answers import session_notes
from daemon.sessions.left_alone import find_left_alone
from daemon.store import counts, ledger, metrics, sessions, tasks
from daemon.store.store import Store

_BAD = frozenset({MovieState.FAILED, MovieState.QUARANTINED})


@dataclass(frozen=True)
class Outcome:
    """`is_good`: nothing pending, failed, quarantined, refused, passed over or out of sight."""

    is_good: bool
    text: str


def summarise(
    store: Store, refused: Mapping[Path, str], passed_over: Sequence[str], unwatched: Mapping[Path, str]
) -> Outcome:
    """Summarise every session of the store, and the directories not imported, of no session, or not watched."""
    return anyio.run(_summarise, store, refused, passed_over, unwatched)


async def _summarise(
    store: Store, refused: Mapping[Path, str], passed_over: Sequence[str], unwatched: Mapping[Path, str]
) -> Outcome:
    lines: list[str] = []
    is_good = not refused and not passed_over and not unwatched
    rows = await sessions.sessions(store)
    for row in rows:
        session = row.session
        states = Counter(entry.state for entry in await ledger.movies(store, session.session_id))
        open_tasks = await tasks.tasks(
            store, session_id=session.session_id, states=(TaskState.PENDING, TaskState.RUNNING)
        )
        unfinished = sum(count for state, count in states.items() if not state.is_terminal)
        is_good = is_good and not unfinished and not open_tasks and not any(states[state] for state in _BAD)
        others = await counts.count_no_movies(store, session.session_id)
        states[MovieState.IGNORED] -= others
        counted = ", ".join(f"{count} {state}" for state, count in sorted(states.items()) if count) or "no movies"
        beside = f", {others} other file{'' if others == 1 else 's'}" if others else ""
        lines.append(f"{session.name}: {counted}{beside}; results in {session.home}")
        lines.extend(f"  {kind.said}" for kind in await find_left_alone(store, session))
        lines.extend(f"  note: {note}" for note in await session_notes(store, row))
        lines.extend(
            f"  {failure['name'] or failure['id']}: {failure['reason']}"
            for failure in await metrics.failures(store, session.session_id)
        )
    lines.extend(f"{path} was not imported: {why}" for path, why in refused.items())
    lines.extend(
        f"{folder}: movies were passed over, there is no session.json: put one in it, or name it in a [[session]] entry"
        for folder in passed_over
    )
    lines.extend(f"{path} {what}" for path, what in unwatched.items())
    return Outcome(is_good, "\n".join(lines) or "no session found: nothing to do")
