"""Which id and which name a session has: those that it was first imported with, else what its session.json says."""

from collections.abc import Sequence
from itertools import count
from pathlib import Path

from daemon.domain.identity import stable_id
from daemon.domain.session import Session
from daemon.errors import CommandRefused
from daemon.sessions.manifest import Manifest
from daemon.store.rows import encode_path


def identify_session(
    raw_directory: Path,
    manifest: Manifest | None,
    asked_name: str | None,
    known: Sequence[Session],
    copied: dict[Path, Path],
) -> tuple[str, str]:
    """Return id and name of a session: those it was first imported with, whatever came to be known of it since.

    Raises CommandRefused for another name, and for a manifest that is a copy of another session's.
    """
    for session in known:
        if session.raw_directory == raw_directory:
            if asked_name not in {None, session.name}:
                raise CommandRefused(
                    f"{raw_directory} is imported as {session.name!r} already.",
                    hint=f"Leave out the name {asked_name!r}: results lie under the first one.",
                )
            return session.session_id, session.name
    name = asked_name or (manifest.session_name if manifest else None) or raw_directory.name
    session_id = (manifest.session_oid if manifest else None) or _id_of_place(raw_directory, known)
    for session in known:
        other = session.raw_directory
        if raw_directory.is_relative_to(other) or other.is_relative_to(raw_directory):
            raise CommandRefused(
                f"{raw_directory} and the session directory {other} lie one in the other.",
                hint="Import each session directory by itself: a movie belongs to one session.",
            )
        if session.session_id == session_id:
            copied[raw_directory] = other
            raise CommandRefused(
                f"The session.json of {raw_directory} says it is session {session_id}, "
                f"which is imported from {other} already.",
                hint="A copied session needs an msession.oid and a name of its own; one that was moved goes on here "
                f"once nothing is left of {other}.",
            )
    return session_id, name


def _id_of_place(raw_directory: Path, known: Sequence[Session]) -> str:
    """Return the id of a session that nobody has given one; that of a place is taken where a session was moved away."""
    place, taken = encode_path(raw_directory), {session.session_id for session in known}
    if (session_id := stable_id("session", place)) not in taken:
        return session_id
    ids = (stable_id("session", place, str(number)) for number in count(2))
    return next(session_id for session_id in ids if session_id not in taken)


def refuse_foreign_home(session: Session, known: Sequence[Session]) -> None:
    """Raise CommandRefused where another session has the name, and with it the folder of results."""
    for other in known:
        if other.home == session.home and other.session_id != session.session_id:
            raise CommandRefused(
                f"Session name {session.name!r} belongs to {other.raw_directory} already.",
                hint=f"Give {session.raw_directory} another one: name under [[session]], or elcano import --name.",
            )


def refuse_folder_of_sessions(raw_directory: Path, known: Sequence[Session], holders: Sequence[Path]) -> None:
    """Raise CommandRefused for a watched root, or a folder above one: what comes into it later are sessions."""
    if any(session.raw_directory == raw_directory for session in known):
        return
    if any(holder.is_relative_to(raw_directory) for holder in holders):
        raise CommandRefused(
            f"{raw_directory} is where session directories lie, no session itself.",
            hint="Import a directory in it. Where all of it is one session, name it as the directory of a [[session]].",
        )
