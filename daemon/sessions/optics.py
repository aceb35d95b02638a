"""Movies of one session that were not taken alike: each kind is an optics group of its own, and a new kind is told.

A camera set to another number of frames, another magnification or a gain reference that was measured anew in the
middle of a session shows in the movies themselves before anyone says so. What was decided is kept before it is used:
a restart gives no movie another group.
"""

import errno
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import structlog

from daemon.domain.movie import FileIdentity, MovieHeader
from daemon.domain.names import readable_path
from daemon.domain.session import ImageRecord
from daemon.errors import ElcanoError, FileUnanswered, FileUnreadable, MovieIncomplete, ReferenceUnreadable
from daemon.formats.byte_source import ByteSource
from daemon.formats.detached import PatientCalls
from daemon.formats.movie import read_movie_header
from daemon.messages.events import SessionRef
from daemon.sessions.telling import Teller, notice
from daemon.store import sessions
from daemon.store.changes import PutDecision
from daemon.store.results import has_results

log = structlog.get_logger(__name__)

OPTICS_GROUPS = "optics_groups"
"""Key of the decision that holds the facts of each group, in the order of their numbers from 1."""

_COUNT_TOLERANCE = 0.02  # exposures in EER differ by a few hardware frames of a thousand
_PIXEL_TOLERANCE = 0.001  # headers round
_HASHED_AT_ONCE_BYTES = 4 * 2**20


@dataclass(frozen=True)
class MovieFacts:
    """What all movies of one optics group share; None is unknown and differs from nothing."""

    width_px: int
    height_px: int
    frame_count: int
    pixel_size_ang: float | None = None
    gain_path: str | None = None
    gain_sha256: str | None = None

    def differences(self, other: "MovieFacts") -> list[str]:
        """Say what is another one in `other`, from what to what; empty when both are of one kind."""
        found = []
        if (self.width_px, self.height_px) != (other.width_px, other.height_px):
            found.append(f"frame size from {self.width_px} x {self.height_px} to {other.width_px} x {other.height_px}")
        if abs(self.frame_count - other.frame_count) > _COUNT_TOLERANCE * self.frame_count:
            found.append(f"frames from {self.frame_count} to {other.frame_count}")
        old, new = self.pixel_size_ang, other.pixel_size_ang
        if old is not None and new is not None and abs(old - new) > _PIXEL_TOLERANCE * old:
            found.append(f"pixel size from {old:.4g} Å to {new:.4g} Å")
        hashes = (self.gain_sha256, other.gain_sha256)
        # Another path is a correction by a person: it concerns all movies of the session, which are made again.
        if self.gain_path == other.gain_path and None not in hashes and hashes[0] != hashes[1]:
            found.append(f"gain reference: {self.gain_path} was written anew")
        return found


def find_group(groups: Sequence[MovieFacts], facts: MovieFacts) -> int | None:
    """Return the number (from 1) of the newest group that these facts belong to, None when they are of a new kind."""
    alike = [number for number, group in enumerate(groups, start=1) if not group.differences(facts)]
    return alike[-1] if alike else None


class OpticsGroups:
    """The optics groups of one session."""

    def __init__(self, teller: Teller, session: SessionRef, clock_s: Callable[[], float], calls: PatientCalls) -> None:
        """`calls` reads the files: neither a movie nor a gain that does not answer may hold up the session."""
        self._teller = teller
        self._session = session
        self._clock_s = clock_s
        self._calls = calls
        self._groups: list[MovieFacts] | None = None
        self._newest = 1
        self._gain: tuple[FileIdentity, str] | None = None
        self._unanswered: set[Path] = set()
        self._one_at_a_time = anyio.Lock()

    async def place(self, path: Path, image: ImageRecord) -> int | None:
        """Return the number of the optics group that a whole movie belongs to; a new one is kept and told first.

        None where nobody can tell: a header that cannot be read is left to whoever processes the movie, and one whose
        file system does not answer is told.
        """
        try:
            header = await self._calls.call(path.parent, partial(read_movie_header, path))
        except FileUnanswered as error:
            await self._tell_unanswered(error, path)
            return None
        except ElcanoError as error:
            log.debug("no header to tell the optics group by", path=readable_path(path), reason=str(error))
            return None
        async with self._one_at_a_time:
            return await self._number_of(await self._gather(header, image), path, image)

    async def hash_gain(self, path: Path) -> str | None:
        """Return the sha256 of a gain, None where it cannot be read; `place` tells of that."""
        async with self._one_at_a_time:
            try:
                return await self._hash(path)
            except (OSError, ElcanoError) as error:
                log.debug("no hash of the gain", path=readable_path(path), reason=str(error))
                return None

    async def _tell_unanswered(self, error: FileUnanswered, movie: Path) -> None:
        """Tell, once for each folder, that what lies there was not compared."""
        log.warning(
            "not compared with the movies before it: it stays in its optics group",
            path=readable_path(movie),
            reason=str(error),
        )
        if error.path in self._unanswered:
            return
        self._unanswered.add(error.path)
        change, event = notice(
            self._teller.subjects,
            self._session,
            kind="optics_group_unknown",
            message=f"{readable_path(movie)} was not compared with the movies before it. {error.message}",
            hint=f"{error.hint} It stays in the optics group that it has.",
            at_s=self._clock_s(),
            fact=readable_path(error.path),
        )
        await self._teller.commit([change], [event])

    async def _number_of(self, facts: MovieFacts, path: Path, image: ImageRecord) -> int:
        groups = await self._known()
        number = find_group(groups, facts)
        if number is None and await self._is_mended_in_time(groups, facts, image):
            number = self._newest
            groups[number - 1] = facts
            await self._teller.commit([self._decision(groups)], [])
        elif number is None:
            await self._open(facts, path, groups)
            number = len(groups)
        elif (merged := _merge(groups[number - 1], facts)) != groups[number - 1]:
            groups[number - 1] = merged
            await self._teller.commit([self._decision(groups)], [])
        self._newest = number
        return number

    async def _is_mended_in_time(self, groups: Sequence[MovieFacts], facts: MovieFacts, image: ImageRecord) -> bool:
        """Whether nothing but the gain's bytes differs, and no other movie was processed with the former ones."""
        if not groups or replace(groups[self._newest - 1], gain_sha256=None).differences(facts):
            return False
        return not await has_results(self._teller.store, self._session.session_id, besides=image.image_id)

    async def _known(self) -> list[MovieFacts]:
        if self._groups is None:
            kept = (await sessions.decisions(self._teller.store, self._session.session_id)).get(OPTICS_GROUPS, [])
            self._groups = [MovieFacts(**group) for group in kept]
            self._newest = max(len(self._groups), 1)
        return self._groups

    async def _open(self, facts: MovieFacts, path: Path, groups: list[MovieFacts]) -> None:
        number = len(groups) + 1
        decision = self._decision([*groups, facts])
        if not groups:
            await self._teller.commit([decision], [])
        else:
            what = "; ".join(groups[self._newest - 1].differences(facts))
            name = readable_path(path)
            message = f"The movies of {self._session.session} changed from {name} on: {what}."
            hint = f"They are optics group {number}. If that was not meant, look at the microscope now."
            log.warning("movies changed", session=self._session.session, first=name, what=what, optics_group=number)
            change, event = notice(
                self._teller.subjects,
                self._session,
                kind="movies_changed",
                message=message,
                hint=hint,
                at_s=self._clock_s(),
                fact=str(number),
            )
            await self._teller.commit([decision, change], [event])
        groups.append(facts)

    def _decision(self, groups: Sequence[MovieFacts]) -> PutDecision:
        kept: list[dict[str, Any]] = [asdict(group) for group in groups]
        return PutDecision(self._session.session_id, OPTICS_GROUPS, kept)

    async def _gather(self, header: MovieHeader, image: ImageRecord) -> MovieFacts:
        gain = image.acquisition.gain
        return MovieFacts(
            header.width_px,
            header.height_px,
            header.frame_count,
            _pixel_of(header, image),
            None if gain is None else readable_path(gain.path),
            None if gain is None else await self._hash_of(gain.path),
        )

    async def _hash_of(self, gain: Path) -> str | None:
        """Return the hash of the gain, None where it cannot be read."""
        try:
            return await self._hash(gain)
        except (OSError, FileUnreadable) as error:
            os_error = error.os_error if isinstance(error, FileUnreadable) else error
            log.warning("the gain reference cannot be read", reason=str(ReferenceUnreadable("gain", gain, os_error)))
        except MovieIncomplete as error:
            log.warning("the gain reference cannot be read", path=readable_path(gain), reason=str(error))
        except FileUnanswered as error:
            await self._tell_unanswered(error, gain)
        return None

    async def _hash(self, path: Path) -> str:
        """Return the hash of the gain: a touch changes nothing. Raises OSError and what reading it raises.

        It is read part by part: at a slow pace all of it takes longer than a file system may that answers.
        """
        identity = await self._calls.call(path, partial(_identify, path))
        if self._gain is None or self._gain[0] != identity:
            digest, size_bytes = hashlib.sha256(), identity.size_bytes
            for offset in range(0, size_bytes, _HASHED_AT_ONCE_BYTES):
                count = min(_HASHED_AT_ONCE_BYTES, size_bytes - offset)
                digest.update(await self._calls.call(path, partial(_read_part, identity, offset, count)))
            self._gain = identity, digest.hexdigest()
        return self._gain[1]


def _identify(path: Path) -> FileIdentity:
    status = path.stat()
    return FileIdentity(path, status.st_size, status.st_mtime_ns)


def _read_part(identity: FileIdentity, offset: int, count: int) -> bytes:
    """Read a part of a file at the pace of all reading. Raises OSError where it is not the file any more."""
    with ByteSource(identity.path) as source:
        part = source.read_at(offset, count)
    if _identify(identity.path) != identity:
        raise OSError(errno.ESTALE, "it was written anew while it was read", str(identity.path))
    return part


def _pixel_of(header: MovieHeader, image: ImageRecord) -> float | None:
    """The pixel size of this movie by its own header or its own record; what is said of all movies tells no change."""
    if header.pixel_size_ang is not None:
        return header.pixel_size_ang
    return image.acquisition.pixel_size_ang if image.manifest.get("pixel_size") else None


def _merge(group: MovieFacts, facts: MovieFacts) -> MovieFacts:
    """Fill in what was not known of a group, and follow a gain that a person corrected."""
    merged = group
    if group.pixel_size_ang is None and facts.pixel_size_ang is not None:
        merged = replace(merged, pixel_size_ang=facts.pixel_size_ang)
    if facts.gain_sha256 is not None and (group.gain_path != facts.gain_path or group.gain_sha256 is None):
        merged = replace(merged, gain_path=facts.gain_path, gain_sha256=facts.gain_sha256)
    return merged
