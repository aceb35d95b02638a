"""The account of what belongs to no session: raw data that would be lost if whoever cleans up trusted the sessions."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from daemon.domain.names import readable_path
from daemon.sessions.audit import AuditReport, Gap

_PASSED_OVER = "its movies belong to no session: import it, name it in a [[session]] entry, or put a session.json in it"


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
