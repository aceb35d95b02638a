"""What a whole movie itself shows of how it was taken: its optics group, and how the gain lies on its frames."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from daemon.domain.acquisition import Acquisition
from daemon.domain.session import ImageRecord
from daemon.formats.detached import PatientCalls
from daemon.messages.events import SessionRef
from daemon.sessions.book import SessionBook
from daemon.sessions.first_movie import FirstMovieCheck
from daemon.sessions.found_orientation import FoundOrientation
from daemon.sessions.gain_orientation import GainOrientation
from daemon.sessions.optics import OpticsGroups
from daemon.sessions.telling import Teller
from daemon.store.changes import PutImages


@dataclass(frozen=True)
class Shown:
    """What a movie showed; None where nobody can tell."""

    optics_group: int | None
    orientation: FoundOrientation | None

    def place(self, image: ImageRecord) -> ImageRecord:
        """Return the image with it; the very same where that says nothing new."""
        acquisition = image.acquisition
        if self.optics_group not in {None, acquisition.optics_group}:
            acquisition = replace(acquisition, optics_group=self.optics_group)
        if self.orientation is not None:
            acquisition = self.orientation.turn(acquisition)
        return image if acquisition is image.acquisition else replace(image, acquisition=acquisition)


class Placement:
    """Looks into whole movies of one session; what lies on a file system that does not answer holds up no other."""

    def __init__(
        self,
        teller: Teller,
        book: SessionBook,
        clock_s: Callable[[], float],
        *,
        read_limit_s: float,
        on_gain_found: Callable[[], None],
    ) -> None:
        """`read_limit_s` is how long a header or a hash may take; `on_gain_found`: see GainOrientation."""
        self._teller, self._book = teller, book
        calls = PatientCalls(read_limit_s)
        session = SessionRef(book.session.session_id, book.session.name)
        self._first_movie = FirstMovieCheck(teller, session, clock_s, calls)
        self._optics = OpticsGroups(teller, session, clock_s, calls)
        self._orientation = GainOrientation(
            teller,
            session,
            clock_s,
            on_gain_found,
            configured=lambda: book.session.acquisition,
            hash_gain=self._optics.hash_gain,
        )

    async def look(self, path: Path, image: ImageRecord) -> Shown:
        """Look at a whole movie before it is offered."""
        return Shown(await self._optics.place(path, image), await self._orientation.find(path, image.acquisition))

    async def place_anew(self, path: Path) -> None:
        """Put the image of a movie that was processed again into its optics group: its gain may be another by now."""
        movie = self._book.find(path)
        if movie is None or movie.image is None:
            return
        shown = Shown(await self._optics.place(path, movie.image), None)
        async with self._book.in_hand:
            now = self._book.find(path)
            if now is None or now.movie_id != movie.movie_id or now.image is None:
                return
            placed = shown.place(now.image)
            if placed is not now.image:
                await self._teller.commit([PutImages((placed,))], [])
                self._book.renew_image(now, placed)

    async def check(self, path: Path, acquisition: Acquisition) -> None:
        """Look at a movie that was offered: what it shows to be mistaken in what was given."""
        await self._first_movie.look(path, acquisition)
        await self._orientation.check(path, acquisition)

    async def look_back(self, movies: Sequence[tuple[Path, Acquisition]]) -> None:
        """Look at movies that were whole before what is asked now was asked."""
        await self._orientation.find_in(movies)
