"""What is kept in memory of one open session: which file is which movie, and how many frames movies have."""

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from daemon.domain.identity import stable_id
from daemon.domain.movie import FileIdentity, LedgerEntry
from daemon.domain.session import ImageRecord, Session
from daemon.domain.states import MovieState
from daemon.sessions.matching import RecordIndex, image_key, preference
from daemon.sessions.naming import ImageNames
from daemon.store.rows import encode_path

_MOVIES_THAT_AGREE = 3
_MOVIES_REMEMBERED = 20
_NEVER_AN_IMAGE = frozenset({MovieState.VANISHED, MovieState.QUARANTINED, MovieState.IGNORED})


@dataclass(frozen=True)
class BookedMovie:
    """The newest revision of one file. `image` is None for files that are left alone."""

    movie_id: str
    identity: FileIdentity
    revision: int
    state: MovieState
    image: ImageRecord | None


class SessionBook:
    """Names images, tells one revision of a file from the next, and knows the usual frame count."""

    def __init__(self, session: Session, job_id: str, stages: tuple[str, ...], default: ImageRecord) -> None:
        """Open an empty book. `default` holds the acquisition of a movie that the manifest does not name."""
        self.session = session
        self.job_id = job_id
        self.stages = stages
        self._default = default
        self._records = RecordIndex[ImageRecord](())
        self._names = ImageNames()
        self._movies: dict[Path, BookedMovie] = {}
        self._chosen: dict[str, Path] = {}
        self._owner: dict[str, Path] = {}
        self._counts: deque[int] = deque(maxlen=_MOVIES_REMEMBERED)
        self._usual_count: int | None = None

    def renew(
        self, session: Session, stages: tuple[str, ...], default: ImageRecord, records: Iterable[ImageRecord]
    ) -> None:
        """Learn what an import found out, `records` being those of session.json; movies keep their names."""
        self.session = session
        self.stages = stages
        self._default = default
        self._records = RecordIndex(records)

    def restore(
        self, entries: Iterable[LedgerEntry], images: Mapping[str, ImageRecord], usual_count: int | None
    ) -> None:
        """Take over what the ledger holds, after a restart."""
        for entry in sorted(entries, key=lambda entry: entry.revision):
            image = images.get(entry.image_id) if entry.image_id is not None else None
            path = entry.identity.path
            self._movies[path] = BookedMovie(entry.movie_id, entry.identity, entry.revision, entry.state, image)
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

    def relative(self, path: Path) -> Path:
        """Return a movie's path inside the raw directory."""
        return path.relative_to(self.session.raw_directory)

    def other_file_of_its_image(self, path: Path) -> Path | None:
        """Return the file that stands for the same exposure already, if it is another one."""
        chosen = self._chosen.get(image_key(self.relative(path)))
        return None if chosen is None or chosen == path else chosen

    def in_order_of_preference(self, paths: Iterable[Path]) -> list[Path]:
        """Sort new files so that, of one exposure's files, the one to process comes first."""
        return sorted(paths, key=lambda path: (image_key(self.relative(path)), preference(path)))

    def add(self, identity: FileIdentity) -> BookedMovie:
        """Enter a new file, or the next revision of a known one; a revision keeps its image."""
        path = identity.path
        before = self._movies.get(path)
        revision = 1 if before is None else before.revision + 1
        image = before.image if before is not None and before.image is not None else self._image_of(path)
        movie = BookedMovie(self._movie_id(path, revision), identity, revision, MovieState.SEEN, image)
        self._movies[path] = movie
        self._own(path, image)
        return movie

    def add_ignored(self, identity: FileIdentity) -> BookedMovie:
        """Enter a file that no image is made of."""
        before = self._movies.get(identity.path)
        revision = 1 if before is None else before.revision + 1
        movie = BookedMovie(self._movie_id(identity.path, revision), identity, revision, MovieState.IGNORED, None)
        self._movies[identity.path] = movie
        return movie

    def note(self, movie: BookedMovie, state: MovieState, identity: FileIdentity | None = None) -> BookedMovie:
        """Remember a movie's new state, and its identity where that moved on."""
        path = movie.identity.path
        changed = replace(movie, state=state, identity=identity or movie.identity)
        self._movies[path] = changed
        if state in _NEVER_AN_IMAGE and self._chosen.get(image_key(self.relative(path))) == path:
            # Another file of this exposure may stand for it from now on.
            del self._chosen[image_key(self.relative(path))]
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
        self._chosen.setdefault(image_key(self.relative(path)), path)
        self._owner.setdefault(image.image_id, path)

    def _movie_id(self, path: Path, revision: int) -> str:
        return stable_id("movie", self.session.session_id, encode_path(self.relative(path)), str(revision))
