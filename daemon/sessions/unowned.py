"""The account of what belongs to no session: raw data that would be lost if whoever cleans up trusted the sessions."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from daemon.domain.names import readable_path
from daemon.sessions.audit import AuditReport, Gap
from daemon.sessions.manifest import Manifest
from daemon.sessions.raw_files import NO_LINKS, raw_files
from daemon.sessions.taken_places import ids_of
from daemon.store.rows import SessionRow

NOT_TAKEN_UP = "no daemon has taken it up yet: start one"
"""Why movies belong to no session of which nothing else is wrong."""

_PASSED_OVER = "its movies belong to no session: import it, name it in a [[session]] entry, or put a session.json in it"


def why_not_taken_up(folder: Path, manifest: Manifest, known: Sequence[SessionRow]) -> str:
    """Say why no session is known in a folder whose session.json is sound; `known` are all sessions that are.

    One that was moved there goes on only once its movies can be looked at, which a daemon that is started cannot mend.
    """
    row = next((row for row in known if manifest.session_oid in ids_of(row)), None)
    if row is None:
        return NOT_TAKEN_UP
    closed: list[str] = []
    for _ in raw_files(folder, NO_LINKS, lambda place, error: closed.append(_say_closed(place, error))):
        if closed:
            break
    why = closed[0] if closed else NOT_TAKEN_UP
    return f"it has the id of session {row.session.name} of {readable_path(row.session.raw_directory)}, and {why}"


def _say_closed(place: Path, error: OSError) -> str:
    return f"{readable_path(place)} cannot be read: {error.strerror or error}. Let the user that runs elcano read it"


def account_of_no_session(
    passed_over: Sequence[Path] = (),
    not_imported: Mapping[Path, str] | None = None,
    not_watched: Mapping[Path, str] | None = None,
) -> AuditReport:
    """Return the account of folders that no session has; it names no session, and is clean where there is none.

    `passed_over` hold movies and no session.json, of `not_imported` it is said why there is no session, and of
    `not_watched` what keeps them from being looked at.
    """
    gaps = [Gap("passed_over", readable_path(folder), _PASSED_OVER) for folder in passed_over]
    gaps += [
        Gap("not_imported", readable_path(folder), f"its movies belong to no session: {why}")
        for folder, why in (not_imported or {}).items()
    ]
    gaps += [
        Gap("not_watched", readable_path(place), f"{what}; what belongs to it is processed by nobody")
        for place, what in (not_watched or {}).items()
    ]
    return AuditReport(session="", movies={}, open_movies=0, tasks={}, gaps=gaps)
