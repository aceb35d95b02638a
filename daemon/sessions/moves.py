"""Movies that were moved or renamed: the same movie at another path is no second image.

The new path is the next entry of the ledger for the same image, and the old entry ends as superseded. The entry does
not just change its path, because what a movie was when it was processed is part of its records; and the new one is
not just ignored, because then nothing could be processed again from a path that is empty. The work is not repeated:
its tasks follow those of the old entry, with their results and the parameters that somebody chose for them.
"""

from daemon.domain.identity import stable_id
from daemon.domain.movie import FileIdentity
from daemon.domain.names import readable_path
from daemon.domain.states import MovieState
from daemon.sessions.book import BookedMovie, SessionBook
from daemon.sessions.endings import Ending
from daemon.store.changes import NewTask


def leave_for(book: SessionBook, identity: FileIdentity) -> Ending | None:
    """Return how the movie that this file was before it was moved ends at its old path; None when it is new.

    It is to be committed together with the entry of the new path: apart, a death of the daemon between the two would
    leave the image without a movie. Among several that it could have been, the one of the same file name; otherwise
    none is believed.
    """
    alike = book.look_alikes(identity)
    if len(alike) > 1:
        alike = [movie for movie in alike if movie.identity.path.name == identity.path.name]
    if len(alike) != 1:
        return None
    (origin,) = alike
    book.leave(origin)
    return Ending(origin, MovieState.SUPERSEDED, f"moved to {readable_path(identity.path)}", "file moved")


def owed_tasks(book: SessionBook, movie: BookedMovie, origin: BookedMovie | None) -> tuple[NewTask, ...]:
    """Return a task of a new movie for every stage; each follows that of `origin`, which the file was before."""
    assert movie.image is not None, "a movie with tasks has an image"
    return tuple(
        NewTask(
            stable_id("task", movie.movie_id, stage),
            book.job_id,
            book.session.session_id,
            movie.image.image_id,
            movie.movie_id,
            stage,
            position,
            None if origin is None else stable_id("task", origin.movie_id, stage),
        )
        for position, stage in enumerate(book.stages)
    )
