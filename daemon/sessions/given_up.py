"""Movies that were given up: how that is told, and what is said of them beside other files of their exposure."""

from collections.abc import Sequence
from pathlib import Path

from daemon.domain.identity import stable_id
from daemon.domain.names import readable_path
from daemon.domain.states import MovieState
from daemon.messages import events
from daemon.messages.envelope import Event
from daemon.messages.events import SessionRef
from daemon.messages.subjects import Subjects
from daemon.sessions.book import BookedMovie, SessionBook
from daemon.store import ledger
from daemon.store.changes import PutNotification
from daemon.store.reading import Reads

_INSTEAD = " of the same exposure was taken instead; this one was quarantined: "


def tell_quarantined(
    subjects: Subjects, session: SessionRef, movie: tuple[str, Path], reason: str, *, at_s: float, hint: str = ""
) -> tuple[PutNotification, Event]:
    """Return the notification and the event of a movie, by id and path, that will not be processed as it is."""
    movie_id, path = movie[0], readable_path(movie[1])
    event = events.movie_quarantined(subjects, session, movie_id=movie_id, path=path, reason=reason, at_s=at_s)
    message = f"{path}: {reason.removeprefix(f'{path}: ')}"
    notification_id = stable_id("quarantined", movie_id)
    change = PutNotification(
        notification_id, "warning", "movie_quarantined", message, hint, session_id=session.session_id, at_s=at_s
    )
    return change, event


async def find_given_up(store: Reads, book: SessionBook, path: Path) -> list[tuple[BookedMovie, str]]:
    """Return the quarantined files of the exposure that a file now stands for, each with the reason to ignore it."""
    movie = book.find(path)
    if movie is None or movie.image is None:
        return []
    others = [other for other in book.others_of_its_image(path) if other.state is MovieState.QUARANTINED]
    entries = [await ledger.movie(store, other.movie_id) for other in others]
    reasons = ("" if entry is None else entry.reason for entry in entries)
    return [(other, f"{readable_path(path)}{_INSTEAD}{reason}") for other, reason in zip(others, reasons, strict=True)]


async def add_earlier(store: Reads, others: Sequence[BookedMovie], reason: str) -> str:
    """Return why a movie is given up, with what was wrong with files of its exposure that it had been taken for."""
    for other in others:
        entry = await ledger.movie(store, other.movie_id) if other.state is MovieState.IGNORED else None
        _, instead, why = ("", "", "") if entry is None else entry.reason.partition(_INSTEAD)
        if instead:
            name = readable_path(other.identity.path)
            reason = f"{reason.rstrip('.')}. Of the same exposure, {name} was given up before: {why}"
    return reason
