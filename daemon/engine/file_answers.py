"""Answers by which the files that the daemon has written are browsed: counted, listed, and seen in small pictures."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar

import anyio
import numpy as np
import numpy.typing as npt

from daemon.domain.names import readable_path
from daemon.domain.session import Session
from daemon.engine.answers import Handler
from daemon.engine.engine import Engine
from daemon.engine.lookup import find_session, find_session_id
from daemon.errors import CommandRefused, FileUnanswered
from daemon.formats.detached import PatientCalls
from daemon.formats.section_picture import SectionPicture, draw_section
from daemon.formats.star import StarBlock, read_star
from daemon.messages.files import (
    ArtifactFile,
    ArtifactFilesAnswer,
    ArtifactFilesQuery,
    ArtifactGroup,
    ArtifactsAnswer,
    ArtifactsQuery,
    ColumnsAnswer,
    ColumnsQuery,
    SliceAnswer,
    SliceQuery,
    StarColumn,
)
from daemon.sessions.roots import resolve_under
from daemon.store import artifacts, sessions
from daemon.store.artifacts import FileRow

T = TypeVar("T")

LIMIT_S = 20.0
_PIECE_BYTES = 48 * 2**10
_LARGEST_STAR_BYTES = 64 * 2**20
_MOST_COLUMNS = 60
_MRC = frozenset({".mrc", ".mrcs", ".map"})


class FileAnswers:
    """Handlers by name, as the responder wants them; they change nothing, and read only what the ledger names."""

    def __init__(self, engine: Engine, home: Path, *, limit_s: float = LIMIT_S) -> None:
        """`home` is the only place that files are read from; `limit_s` is how long it may take to answer."""
        self._store = engine.store
        self._home = home
        self._calls = PatientCalls(limit_s)
        # Drawing a large section takes a core for a while: one at a time, whoever asks.
        self._turn = anyio.Lock()

    def handlers(self) -> Mapping[str, Handler]:
        """Return every handler this class has."""
        return {
            "artifacts": self.artifacts,
            "artifact.files": self.files,
            "artifact.slice": self.slice,
            "artifact.columns": self.columns,
        }

    async def artifacts(self, query: ArtifactsQuery, asked_by: str) -> ArtifactsAnswer:
        """How many files of each kind there are, and how large they are. Raises CommandRefused."""
        del asked_by
        wanted = await find_session_id(self._store, query.session)
        names = {row.session.session_id: row.session.name for row in await sessions.sessions(self._store)}
        raw_movies, raw_bytes = await artifacts.count_raw_files(self._store, wanted)
        return ArtifactsAnswer(
            groups=[
                ArtifactGroup(
                    session_id=session_id,
                    session=names.get(session_id, ""),
                    stage=stage,
                    kind=kind,
                    category=category,
                    files=files,
                    size_bytes=size_bytes,
                )
                for session_id, stage, kind, category, files, size_bytes in await artifacts.count_artifacts(
                    self._store, wanted
                )
            ],
            raw_movies=raw_movies,
            raw_bytes=raw_bytes,
        )

    async def files(self, query: ArtifactFilesQuery, asked_by: str) -> ArtifactFilesAnswer:
        """Files of one session, and whether they are as they were written. Raises CommandRefused."""
        del asked_by
        session = await find_session(self._store, query.session)
        total, rows = await artifacts.artifact_page(
            self._store,
            session.session_id,
            stage=query.stage,
            kind=query.kind,
            containing=query.containing,
            offset=query.offset,
            limit=query.limit,
        )
        try:
            troubles = await self._calls.call(session.home, partial(_find_troubles, session.home, rows))
        except FileUnanswered:
            troubles = ["does not answer"] * len(rows)
        told = [_tell(session.home, row, trouble) for row, trouble in zip(rows, troubles, strict=True)]
        return ArtifactFilesAnswer(offset=query.offset, total=total, files=told)

    async def slice(self, query: SliceQuery, asked_by: str) -> SliceAnswer:
        """One section of an MRC file. Raises CommandRefused, FileUnanswered, and what reading it raises."""
        del asked_by
        session = await find_session(self._store, query.session)
        path = await self._find(session, query.path)
        if path.suffix.lower() not in _MRC:
            raise CommandRefused(f"{path.name} is no MRC file.", hint="Sections are shown of .mrc, .mrcs and .map.")

        def draw() -> SectionPicture:
            return draw_section(self._place(session, path), query.section, query.longest_px)

        picture = await self._read(session, draw)
        header = picture.header
        pixel = "" if header.pixel_size_ang is None else f", {header.pixel_size_ang:.4g} Å/px"
        return SliceAnswer(
            width_px=picture.width_px,
            height_px=picture.height_px,
            section=picture.section,
            sections=header.section_count,
            said=f"{header.width_px} × {header.height_px} × {header.section_count} {header.dtype}{pixel}",
            pieces=[picture.png[at : at + _PIECE_BYTES] for at in range(0, len(picture.png), _PIECE_BYTES)],
        )

    async def columns(self, query: ColumnsQuery, asked_by: str) -> ColumnsAnswer:
        """The numbers of a STAR file. Raises CommandRefused, FileUnanswered, and what reading it raises."""
        del asked_by
        session = await find_session(self._store, query.session)
        path = await self._find(session, query.path)
        if path.suffix.lower() != ".star":
            raise CommandRefused(f"{path.name} is no STAR file.", hint="Columns are shown of .star files.")

        def read() -> ColumnsAnswer:
            real = self._place(session, path)
            if real.stat().st_size > _LARGEST_STAR_BYTES:
                raise CommandRefused(f"{path.name} is too large to be plotted.", hint="Open the file itself.")
            return _columns_of(read_star(real), query.points)

        return await self._read(session, read)

    async def _find(self, session: Session, named: str) -> Path:
        """Return the path of a file that the ledger knows, relative to the home. Raises CommandRefused."""
        path = Path(named)
        inside = path.relative_to(session.home) if path.is_relative_to(session.home) else path
        if await artifacts.artifact(self._store, session.session_id, str(inside)) is None:
            raise CommandRefused(f"{readable_path(path)} is no file that was written for {session.name}.")
        return inside

    def _place(self, session: Session, path: Path) -> Path:
        """Return where a file is. Raises PathOutsideRoots for one that a link leads out of the home."""
        return resolve_under(path, (self._home,), base=session.home)

    async def _read(self, session: Session, read: Callable[[], T]) -> T:
        async with self._turn:
            return await self._calls.call(session.home, read)


def _find_troubles(home: Path, rows: list[FileRow]) -> list[str]:
    troubles = []
    for row in rows:
        try:
            size_bytes = (home / row.path).stat().st_size
        except FileNotFoundError:
            troubles.append("is not there any more")
        except OSError as error:
            troubles.append(f"cannot be looked at: {error.strerror or error}")
        else:
            as_written = size_bytes == row.size_bytes
            troubles.append("" if as_written else f"has {size_bytes} bytes, {row.size_bytes} were written")
    return troubles


def _tell(home: Path, row: FileRow, trouble: str) -> ArtifactFile:
    return ArtifactFile(
        path=readable_path(home / row.path),
        stage=row.stage,
        kind=row.kind,
        image=row.image,
        size_bytes=row.size_bytes,
        written_at_s=row.written_at_s,
        sha256=row.sha256,
        trouble=trouble,
    )


def _columns_of(blocks: list[StarBlock], points: int) -> ColumnsAnswer:
    columns: list[StarColumn] = []
    texts: list[str] = []
    for block in blocks:
        for label in block.columns:
            values = _numbers(block, label)
            if values is None:
                texts.append(f"{block.name} {label}".strip())
            elif len(columns) < _MOST_COLUMNS:
                columns.append(_thin(block.name, label, values, points))
    return ColumnsAnswer(columns=columns, texts=texts[:_MOST_COLUMNS])


def _numbers(block: StarBlock, label: str) -> npt.NDArray[np.float64] | None:
    try:
        values = block.floats(label)
    except ValueError:
        return None
    return values if values.size and bool(np.isfinite(values).all()) else None


def _thin(block: str, label: str, values: npt.NDArray[np.float64], points: int) -> StarColumn:
    step = math.ceil(values.size / points)
    return StarColumn(
        block=block,
        label=label,
        rows=values.size,
        least=float(values.min()),
        largest=float(values.max()),
        values=[float(value) for value in values[::step]],
    )
