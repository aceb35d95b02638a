"""What lies under the watched roots and belongs to no session that is known, looked up once and without a daemon."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from daemon.watchers.passed_over import outside_sessions
from daemon.watchers.session_finder import SessionFinder


@dataclass(frozen=True)
class Outside:
    """Whatever is in these places, nobody processes it."""

    passed_over: tuple[Path, ...]
    """Folders with movies and without a session.json."""
    manifests: tuple[Path, ...]
    """Every session.json of whose folder no session is known."""
    not_watched: dict[Path, str]
    """What cannot be looked at, or has nearly the name of a session.json, and why."""


def find_outside(
    roots: Sequence[Path],
    allowed_roots: Sequence[Path],
    pattern: str | None,
    sessions: Sequence[Path],
    *,
    named: Sequence[Path] = (),
) -> Outside:
    """Look as a daemon would. `sessions` are real raw directories that are known.

    `named` are real directories that will be sessions: a folder in one of them is not passed over.
    """
    finder = SessionFinder(roots, allowed_roots=allowed_roots, pattern=pattern)
    found = [
        identity.path for _ in range(2) for identity in finder.poll().found
    ]  # a folder counts from the second look
    known = frozenset(sessions)
    bare = {folder: Path(os.path.realpath(folder)) for folder in finder.passed_over}
    troubled = {path: Path(os.path.realpath(path)) for path in finder.problems}
    return Outside(
        passed_over=tuple(outside_sessions(bare, [*sessions, *named])),
        manifests=tuple(path for path in found if Path(os.path.realpath(path.parent)) not in known),
        # What is inside a session is that session's own account.
        not_watched={
            path: finder.problems[path]
            for path, real in troubled.items()
            if not any(real.is_relative_to(session) for session in known)
        },
    )
