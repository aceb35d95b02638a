"""From the store to the file: ask, draw, write in one step."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from daemon.errors import CommandRefused
from daemon.formats.atomic import write_atomically
from daemon.pipeline.gate import GATES, Limits
from daemon.reports.data import Moment, SessionData
from daemon.reports.page import render_page
from daemon.reports.questions import SESSIONS, WHAT_THERE_IS, Answer, Ask, questions, unbundle
from daemon.reports.section import Section
from daemon.reports.sections import SECTIONS
from daemon.store.connection import Connection
from daemon.store.store import Store

_ROWS_AT_ONCE = 500

FOLDER = "reports"
"""In the session home."""

Told = Callable[[int, int, str], None]
"""Is told how many things of how many are done, and which is next."""


@dataclass(frozen=True)
class Source:
    """Where the numbers come from."""

    ask: Ask
    limits: Callable[[str, Answer], Limits]
    """Gives the limits of the gates that hold for a session, by its id, and by what people have set."""
    note: str = ""
    """What a reader should know of it."""


@dataclass(frozen=True)
class Written:
    """A report that was written."""

    path: Path
    size_bytes: int
    session_is_open: bool


def ask_store(store: Store) -> Ask:
    """Return what runs statements of our own on an open store: they need no sandbox, as those of people do."""

    def read(connection: Connection, sql: str) -> Answer:
        found = connection.execute(sql)
        columns = tuple(column[0] for column in found.description)
        rows: list[Sequence[Any]] = []
        # In parts: while a part is fetched, no other thread runs.
        while some := found.fetchmany(_ROWS_AT_ONCE):
            rows += some
        return Answer(columns, rows)

    return lambda sql: store.read_now(lambda connection: read(connection, sql))


def report_path(home: Path, session_name: str) -> Path:
    """Return where the report of a session lies."""
    return home / FOLDER / f"{session_name}.html"


def gather(source: Source, session_id: str, moment: Moment, told: Told = lambda *_: None) -> SessionData:
    """Ask everything that a report is made from."""
    tables = {row["table_name"]: row["columns"].split() for row in source.ask(WHAT_THERE_IS)}
    large, small = questions(session_id, tables)
    told(0, len(large) + 2, "session")
    answers = unbundle(source.ask(small))
    for number, (name, sql) in enumerate(large.items(), start=1):
        told(number, len(large) + 2, name)
        answers[name] = source.ask(sql)
    told(len(large) + 1, len(large) + 2, "page")
    limits = source.limits(session_id, answers.get("controls", Answer()))
    return SessionData(answers, limits, GATES, moment, source.note)


def write_report(
    data: SessionData,
    path: Path | None = None,
    *,
    mode: int | None = None,
    group: str | None = None,
    sections: Sequence[Section] = SECTIONS,
) -> Written:
    """Write the page at `path`, else in the session's home; a reader sees the old one or the new one, whole.

    Raises FileNotWritten.
    """
    path = path or report_path(data.home, data.name)
    text = render_page(data, sections)
    digest = write_atomically(path, lambda draft: _write(draft, text), mode=mode, group=group)
    return Written(path, digest.size_bytes, data.is_open)


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", errors="replace")


def merge_limits(configured: Limits, controls: Answer, session_id: str) -> dict[str, float | None]:
    """Return the limits of a session where no daemon says them: as configured, and what people have set over that."""
    limits = dict(configured)
    for row in controls:
        if row["kind"] == "gates" and row["session_id"] == session_id:
            limits |= json.loads(row["value"])
    return limits


def find_session(ask: Ask, named: str) -> str:
    """Return the id of the session that a person names. Raises CommandRefused with names that come near."""
    known = list(ask(SESSIONS))
    for key in ("session_id", "name"):
        found = [row["session_id"] for row in known if row[key] == named]
        if found:
            return str(found[-1])
    names = [str(row["name"]) for row in known]
    near = get_close_matches(named, names, n=5, cutoff=0.5) or names[-5:]
    hint = f"Names that come near, or are the latest: {', '.join(near)}." if near else "None has been imported yet."
    raise CommandRefused(f"There is no session {named!r}.", hint=hint)
