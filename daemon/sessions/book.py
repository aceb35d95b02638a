"""What is kept in memory of one open session: which file is which movie, and how many frames movies have."""

from collections import Counter, deque
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from types import MappingProxyType

from daemon.domain.acquisition import Acquisition
from daemon.domain.identity import stable_id
from daemon.domain.movie import FileIdentity, LedgerEntry
from daemon.domain.session import ImageRecord, Session
from daemon.domain.stage_position import StagePosition
from daemon.domain.states import MovieState
from daemon.sessions.matching import RecordIndex, image_key, preference
from daemon.sessions.naming import ImageNames
from daemon.sessions.quantities import read_stage
from daemon.sessions.sharing import SharedLock
from daemon.store.rows import encode_path

_MOVIES_THAT_AGREE = 3
_MOVIES_REMEMBERED = 20
_NEVER_AN_IMAGE = frozenset({MovieState.VANISHED, MovieState.QUARANTINED, MovieState.IGNORED})
_LEFT = frozenset({*_NEVER_AN_IMAGE, MovieState.SUPERSEDED})
_WHOLE = frozenset({MovieState.COMPLETE, MovieState.DONE, MovieState.FAILED})
_NS_PER_S = 10**9
_MOST_ALIKE = 4
"""What more files share tells none of them from the others."""

SAME_EXPOSURE = "the same exposure is processed from "
"""How the reason begins for which a spare file is ignored; such a file is taken when that other one is given up."""


@dataclass(frozen=True)
class BookedMovie:
    """The newest revision of one file. `image` is None for files that are left alone."""

    movie_id: str
    identity: FileIdentity
    revision: int
    state: MovieState
    image: ImageRecord | None
    is_spare: bool = False
    """Left alone only because another file of its exposure is processed."""


class SessionBook:
    """Names images, tells one revision of a file from the next, and knows the usual frame count."""

    def __init__(self, session: Session, job_id: str, stages: tuple[str, ...], default: ImageRecord) -> None:
        """Open an empty book. `default` holds the acquisition of a movie that the manifest does not name."""
        self.session = session
        self.job_id = job_id
        self.stages = stages
        self.in_hand = SharedLock()
        """Held by whoever reads the book and commits what follows from it: what it says stays true until then."""
        self._default = default
        self._records = RecordIndex[ImageRecord](())
        self._names = ImageNames()
        self._movies: dict[Path, BookedMovie] = {}
        self._chosen: dict[str, Path] = {}
        self._owner: dict[str, Path] = {}
        self._exposures: dict[str, ImageRecord] = {}
        self._files: dict[str, tuple[Path, ...]] = {}
        self._marks: dict[tuple[int, int, str], set[Path]] = {}
        self._gone: set[Path] = set()
        self._counts: deque[int] = deque(maxlen=_MOVIES_REMEMBERED)
        self._usual_count: int | None = None

    def renew(
        self,
        session: Session,
        stages: tuple[str, ...],
        default: ImageRecord,
        records: Iterable[ImageRecord],
        images: Mapping[str, ImageRecord] = MappingProxyType({}),
    ) -> None:
        """Learn what an import found out, `records` being those of session.json; movies keep their names.

        `images`: records by id that stand for those known so far, as where a corrected acquisition reaches them.
        """
        self.session = session
        self.stages = stages
        self._default = default
        self._records = RecordIndex(records)
        for path, movie in self._movies.items():
            if movie.image is not None and movie.image.image_id in images:
                self._movies[path] = replace(movie, image=images[movie.image.image_id])
        for key, image in self._exposures.items():
            self._exposures[key] = images.get(image.image_id, image)

    def restore(
        self, entries: Iterable[LedgerEntry], images: Mapping[str, ImageRecord], usual_count: int | None
    ) -> None:
        """Take over what the ledger holds, after a restart."""
        newest: dict[Path, LedgerEntry] = {}
        for entry in sorted(entries, key=lambda entry: entry.revision):
            newest[entry.identity.path] = entry
        # Files that were given up come last: what stands for their image now has it.
        for path, entry in sorted(newest.items(), key=lambda item: item[1].state in _LEFT):
            image = images.get(entry.image_id) if entry.image_id is not None else None
            if image is not None and entry.state in _LEFT and image.image_id in self._owner:
                image = None
            spare = entry.state is MovieState.IGNORED and entry.reason.startswith(SAME_EXPOSURE)
            self._put(BookedMovie(entry.movie_id, entry.identity, entry.revision, entry.state, image, spare))
            if image is not None:
                self._own(path, image)
                self.note(self._movies[path], entry.state)
        self._names = ImageNames(
            (self.relative(path), movie.image.name) for path, movie in self._movies.items() if movie.image is not None
        )
        self._usual_count = usual_count

    def find(self, path: Path) -> BookedMovie | None:
        """Return the newest revision of a file, or None when it was never seen."""
        return self._movies.get(path)

    @asynccontextmanager
    async def in_hand_to_complete(self, identity: FileIdentity) -> AsyncIterator[None]:
        """Take the book in hand for a movie that is whole: beside others that are, unless it may have been moved.

        What a move changes concerns another movie too, which may be completed at the same time.
        """
        if not self.look_alikes(identity):
            async with self.in_hand.shared():
                if not self.look_alikes(identity):
                    yield
                    return
        async with self.in_hand:
            yield

    def whole(self) -> list[tuple[Path, Acquisition]]:
        """Return the movies that were proven whole and are in use, and how each was taken."""
        return [
            (path, movie.image.acquisition)
            for path, movie in self._movies.items()
            if movie.image is not None and movie.state in _WHOLE
        ]

    def some_whole(self, count: int) -> list[FileIdentity]:
        """Return up to so many movies that were proven whole and are in use, each as it was then."""
        whole = (movie.identity for movie in self._movies.values() if movie.image and movie.state in _WHOLE)
        return list(islice(whole, count))

    def relative(self, path: Path) -> Path:
        """Return a movie's path inside the raw directory."""
        return path.relative_to(self.session.raw_directory)

    def other_file_of_its_image(self, path: Path) -> Path | None:
        """Return the file that stands for the same exposure already, if it is another one."""
        chosen = self._chosen.get(self._key(path))
        return None if chosen is None or chosen == path else chosen

    def in_order_of_preference(self, paths: Iterable[Path]) -> list[Path]:
        """Sort new files so that, of one exposure's files, the one to process comes first."""
        return sorted(paths, key=lambda path: (image_key(self.relative(path)), preference(path)))

    def add(self, identity: FileIdentity, image: ImageRecord | None = None) -> BookedMovie:
        """Enter a new file, or the next revision of a known one; a revision keeps its image.

        An exposure keeps its image too, whichever of its files stands for it; `image`: that of a file that was moved.
        """
        path = identity.path
        before = self._movies.get(path)
        revision = 1 if before is None else before.revision + 1
        known = image or (before.image if before is not None else None) or self._exposures.get(self._key(path))
        image = known or self._image_of(path)
        movie = BookedMovie(self._movie_id(path, revision), identity, revision, MovieState.SEEN, image)
        self._put(movie)
        self._own(path, image)
        self._exposures[self._key(path)] = image
        return movie

    def add_ignored(self, identity: FileIdentity, *, is_spare: bool = False) -> BookedMovie:
        """Enter a file that no image is made of."""
        before = self._movies.get(identity.path)
        revision = 1 if before is None else before.revision + 1
        movie_id = self._movie_id(identity.path, revision)
        movie = BookedMovie(movie_id, identity, revision, MovieState.IGNORED, None, is_spare)
        self._put(movie)
        return movie

    def heir(self, path: Path) -> BookedMovie | None:
        """Return the best spare file of an exposure that no file stands for any more, or None."""
        key = self._key(path)
        spares = [self._movies[file] for file in self._files.get(key, ()) if self._movies[file].is_spare]
        if key in self._chosen or not spares:
            return None
        return min(spares, key=lambda movie: preference(self.relative(movie.identity.path)))

    def heirs(self) -> list[BookedMovie]:
        """Return every exposure's heir."""
        firsts = [files[0] for files in self._files.values() if len(files) > 1]
        return [heir for path in firsts if (heir := self.heir(path)) is not None]

    def others_of_its_image(self, path: Path) -> list[BookedMovie]:
        """Return the other known files of the same exposure."""
        return [self._movies[file] for file in self._files.get(self._key(path), ()) if file != path]

    def look_alikes(self, identity: FileIdentity) -> list[BookedMovie]:
        """Return the movies that this file may be, moved: they are no longer where they were.

        What a move keeps is compared: size, and time to the nanosecond. Where a file system or a copying program cut
        the time to seconds, which two movies may share, the file's name must be the same as well. A file that
        session.json names as another image is another image.
        """
        path = identity.path
        record = self._records.find(self.relative(path))
        found = []
        for other in sorted(self._marks.get(_mark(identity), ())):
            movie = self._movies[other]
            if other not in self._gone or movie.image is None or self._owner.get(movie.image.image_id) != other:
                continue
            is_named = record is not None and record.image_id != movie.image.image_id
            if not is_named and identity.size_bytes > 0:
                found.append(movie)
        return found

    def note_presence(self, path: Path, *, is_there: bool) -> None:
        """Remember whether a file is on disk; what became of the movie does not follow from that."""
        if is_there:
            self._gone.discard(path)
        else:
            self._gone.add(path)

    def leave(self, movie: BookedMovie) -> None:
        """Forget which image a file stood for, as it was moved: what comes to its old path is another one."""
        path, key = movie.identity.path, self._key(movie.identity.path)
        if self._chosen.get(key) == path:
            del self._chosen[key]
        self._exposures.pop(key, None)
        if movie.image is not None:
            self._owner.pop(movie.image.image_id, None)
        self._put(replace(self._movies[path], image=None, state=MovieState.SUPERSEDED))

    def note(self, movie: BookedMovie, state: MovieState, identity: FileIdentity | None = None) -> None:
        """Remember a movie's new state, and its identity where that moved on; an older revision is past."""
        path = movie.identity.path
        now = self._movies[path]
        if now.movie_id != movie.movie_id:
            return
        self._put(replace(now, state=state, identity=identity or now.identity))
        if state in _NEVER_AN_IMAGE and self._chosen.get(self._key(path)) == path:
            # Another file of this exposure may stand for it from now on.
            del self._chosen[self._key(path)]

    def renew_image(self, movie: BookedMovie, image: ImageRecord) -> BookedMovie:
        """Learn more of the image that a movie is; return the movie with it."""
        changed = replace(movie, image=image)
        self._put(changed)
        self._exposures[self._key(movie.identity.path)] = image
        return changed

    def count_frames(self, frame_count: int) -> int | None:
        """Learn the frame count of a whole movie; return the usual count when this changed it."""
        self._counts.append(frame_count)
        tally = Counter(self._counts)
        count, votes = tally.most_common(1)[0]
        # A tie changes nothing: two kinds of movies in turn must not turn the decision each time.
        if votes < _MOVIES_THAT_AGREE or (self._usual_count is not None and votes <= tally[self._usual_count]):
            return None
        self._usual_count = count
        return count

    def expected_frames(self, path: Path) -> int | None:
        """Return how many frames a movie should have: as its record says, else as usual; None while unknown."""
        movie = self._movies.get(path)
        named = movie.image.manifest.get("frame_count") if movie is not None and movie.image is not None else None
        return int(named) if isinstance(named, int) and named > 0 else self._usual_count

    def stage_of(self, path: Path) -> StagePosition | None:
        """Return where the stage stood for a movie, as session.json has it; None where that does not say."""
        movie = self._movies.get(path)
        return None if movie is None or movie.image is None else read_stage(movie.image.manifest)

    def _image_of(self, path: Path) -> ImageRecord:
        relative = self.relative(path)
        record = self._records.find(relative)
        if record is not None and self._owner.get(record.image_id, path) != path:
            record = None  # another folder's movie of the same stem has it: this one is an image of its own
        name = self._names.give(relative, None if record is None else record.name)
        if record is not None and name == record.name:
            return record
        session_id = self.session.session_id
        return replace(self._default, image_id=stable_id("image", session_id, name), session_id=session_id, name=name)

    def _own(self, path: Path, image: ImageRecord) -> None:
        self._chosen.setdefault(self._key(path), path)
        self._exposures.setdefault(self._key(path), image)
        self._owner[image.image_id] = path

    def _put(self, movie: BookedMovie) -> None:
        path, identity = movie.identity.path, movie.identity
        before = self._movies.get(path)
        if before is None:
            self._files[self._key(path)] = (*self._files.get(self._key(path), ()), path)
        elif before.identity != identity:
            self._marks[_mark(before.identity)].discard(path)
        if before is None or before.identity != identity:
            alike = self._marks.setdefault(_mark(identity), set())
            if len(alike) < _MOST_ALIKE:
                alike.add(path)
        self._movies[path] = movie

    def _key(self, path: Path) -> str:
        return image_key(self.relative(path))

    def _movie_id(self, path: Path, revision: int) -> str:
        return stable_id("movie", self.session.session_id, encode_path(self.relative(path)), str(revision))


def _mark(identity: FileIdentity) -> tuple[int, int, str]:
    """Return what a moved file keeps and no other file has."""
    is_cut = identity.mtime_ns % _NS_PER_S == 0
    return identity.size_bytes, identity.mtime_ns, identity.path.name if is_cut else ""
