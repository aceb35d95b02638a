"""Movies that were moved or renamed: the same movie at another path is no second image.

The new path is the next entry of the ledger for the same image, and the old entry ends as superseded. The entry does
not just change its path, because what a movie was when it was processed is part of its records; and the new one is
not just ignored, because then nothing could be processed again from a path that is empty. The work is not repeated:
the records of the image tell of the same movie, and are believed.
"""

from dataclasses import dataclass

from daemon.domain.movie import FileIdentity
from daemon.domain.names import readable_path
from daemon.domain.states import MovieState
from daemon.sessions.book import BookedMovie, SessionBook
from daemon.sessions.endings import Endings


@dataclass(frozen=True)
class Moves:
    """Recognises moved movies of one session."""

    book: SessionBook
    endings: Endings

    async def leave_for(self, identity: FileIdentity) -> BookedMovie | None:
        """Return the movie that this file was before it was moved, ended at its old path; None when it is new.

        Among several that it could have been, the one of the same file name; otherwise none is believed.
        """
        alike = self.book.look_alikes(identity)
        if len(alike) > 1:
            alike = [movie for movie in alike if movie.identity.path.name == identity.path.name]
        if len(alike) != 1:
            return None
        (origin,) = alike
        where = readable_path(identity.path)
        await self.endings.end(origin, MovieState.SUPERSEDED, f"moved to {where}", "file moved")
        self.book.leave(origin)
        return origin
