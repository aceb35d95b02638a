"""Answers by which micrographs are looked at: all of a session at a glance, one to its bottom, and its pictures."""

import functools
import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import anyio
import anyio.to_thread

from daemon.domain.identity import stable_id
from daemon.domain.session import Session
from daemon.engine.answers import Handler
from daemon.engine.engine import Engine
from daemon.engine.lookup import find_session
from daemon.errors import CommandRefused, ElcanoError
from daemon.exchange.relion.motion import read_motion
from daemon.formats.rotational_average import read_rotational_average
from daemon.formats.small_picture import PICTURE_SUFFIXES, SmallPicture, shrink_picture
from daemon.formats.star import read_star
from daemon.messages.micrographs import (
    HandMark,
    MicrographAnswer,
    MicrographQuery,
    MicrographsAnswer,
    MicrographsQuery,
    MicrographStep,
    PictureAnswer,
    PictureInfo,
    PictureQuery,
    RingCurves,
)
from daemon.pipeline.product import CTF_ROTATIONAL_AVERAGE, CTF_SPECTRUM, MOTION_STAR
from daemon.sessions.roots import resolve_under
from daemon.store import artifacts, metrics, results, sessions, tasks
from daemon.store.changes import ArtifactRecord
from daemon.store.micrographs import read_micrographs

T = TypeVar("T")

_AT_ONCE = 2
_CACHE_BYTES = 32 * 2**20
_PIECE_BYTES = 48 * 2**10
_MOST_POINTS = 1000


class Viewing:
    """Handlers by name, as the responder wants them; they change nothing."""

    def __init__(self, engine: Engine, home: Path) -> None:
        """`home` is the only place that files are read from."""
        self._store = engine.store
        self._graph = engine.graph
        self._home = home
        # Threads of their own: on a mount that hangs they never return, and others must go on.
        self._threads = anyio.CapacityLimiter(_AT_ONCE)
        self._kept: OrderedDict[str, SmallPicture] = OrderedDict()

    def handlers(self) -> Mapping[str, Handler]:
        """Return every handler this class has."""
        return {"micrographs": self.micrographs, "micrograph": self.micrograph, "picture": self.picture}

    async def micrographs(self, query: MicrographsQuery, asked_by: str) -> MicrographsAnswer:
        """Micrographs of a session, all or those of which something moved since."""
        del asked_by
        session = await find_session(self._store, query.session)
        seq, rows = await read_micrographs(self._store, session.session_id, query.after)
        return MicrographsAnswer(session=session.name, seq=seq, images=rows)

    async def micrograph(self, query: MicrographQuery, asked_by: str) -> MicrographAnswer:
        """All there is to see of one micrograph but the pictures themselves. Raises CommandRefused."""
        del asked_by
        session = await find_session(self._store, query.session)
        image_id = await self._find(session, query.image)
        files = await artifacts.artifacts(self._store, session.session_id, image_id)
        steps = await self._steps(session, image_id)
        known = {step.stage: step.metrics for step in steps}
        pixel_ang = known.get("motion_correction", {}).get("pixel_size_ang")
        figures = await results.image_figures(self._store, image_id, {})
        verdict, mark = figures.verdict, figures.mark
        troubles: list[str] = []
        path = _first(files, MOTION_STAR.name)
        curves = _first(files, CTF_ROTATIONAL_AVERAGE.name)
        return MicrographAnswer(
            session=session.name,
            image_id=image_id,
            name=query.image,
            passes=None if verdict is None else verdict.passes,
            gate="" if verdict is None else verdict.gate,
            reason="" if verdict is None else verdict.reason,
            mark=None if mark is None else HandMark(**vars(mark)),
            steps=steps,
            pictures=[
                PictureInfo(kind=file.kind, stage=file.producer, size_bytes=file.size_bytes, sha256=file.sha256)
                for file in files
                if _is_picture(file)
            ],
            path_ang=await self._read(session, path, lambda file: _path_ang(file, pixel_ang), troubles) or [],
            curves=await self._read(session, curves, _curves, troubles),
            troubles=troubles,
        )

    async def picture(self, query: PictureQuery, asked_by: str) -> PictureAnswer:
        """One picture of a micrograph, small. Raises CommandRefused, FileUnreadable, PathOutsideRoots."""
        del asked_by
        session = await find_session(self._store, query.session)
        image_id = await self._find(session, query.image)
        files = await artifacts.artifacts(self._store, session.session_id, image_id)
        pictures = [file for file in files if _is_picture(file)]
        file = _first(pictures, query.kind)
        if file is None:
            known = ", ".join(file.kind for file in pictures) or "none"
            raise CommandRefused(f"{query.image} has no picture {query.kind!r}.", hint=f"It has: {known}.")
        key = stable_id("picture", file.session_id, file.path, file.sha256, str(query.longest_px))
        small = self._kept.get(key)
        if small is None:
            small = await self._run(self._shrink, session, file, query.longest_px)
            self._keep(key, small)
        self._kept.move_to_end(key)
        pieces = [small.png[begin : begin + _PIECE_BYTES] for begin in range(0, len(small.png), _PIECE_BYTES)]
        return PictureAnswer(kind=query.kind, width_px=small.width_px, height_px=small.height_px, pieces=pieces)

    async def _find(self, session: Session, name: str) -> str:
        found = await sessions.named_images(self._store, session.session_id, [name])
        if not found:
            raise CommandRefused(f"There is no micrograph {name} in {session.name}.")
        return next(iter(found))

    async def _steps(self, session: Session, image_id: str) -> list[MicrographStep]:
        owed = await tasks.tasks(self._store, session_id=session.session_id, image_id=image_id)
        newest = {task.stage: task for task in sorted(owed, key=lambda task: task.created_at_s)}
        steps = []
        for stage in (*self._graph.names, *(stage for stage in newest if stage not in self._graph.names)):
            if stage not in newest:
                continue
            task = newest[stage]
            numbers = await metrics.stage_metrics(self._store, stage, image_id) or {}
            steps.append(
                MicrographStep(
                    stage=stage,
                    task_id=task.task_id,
                    state=str(task.state),
                    reason=task.reason,
                    metrics={name: value for name, value in numbers.items() if value is not None},
                )
            )
        return steps

    async def _read(
        self, session: Session, file: ArtifactRecord | None, read: Callable[[Path], T], troubles: list[str]
    ) -> T | None:
        """Read a file of ours on a thread; what is wrong with it is told, and keeps nothing else from being seen."""
        if file is None:
            return None
        try:
            return await self._run(lambda: read(self._place(session, file)))
        except (ElcanoError, ValueError) as error:
            troubles.append(str(error))
            return None

    def _shrink(self, session: Session, file: ArtifactRecord, longest_px: int) -> SmallPicture:
        return shrink_picture(self._place(session, file), longest_px)

    def _place(self, session: Session, file: ArtifactRecord) -> Path:
        """Return where a file is. Raises PathOutsideRoots for one that a link leads out of the home."""
        return resolve_under(file.path, (self._home,), base=session.home)

    def _keep(self, key: str, picture: SmallPicture) -> None:
        self._kept[key] = picture
        while sum(len(kept.png) for kept in self._kept.values()) > _CACHE_BYTES:
            self._kept.popitem(last=False)

    async def _run(self, work: Callable[..., T], *arguments: Any) -> T:
        return await anyio.to_thread.run_sync(
            functools.partial(work, *arguments), limiter=self._threads, abandon_on_cancel=True
        )


def _first(files: list[ArtifactRecord], kind: str) -> ArtifactRecord | None:
    return next((file for file in files if file.kind == kind), None)


def _is_picture(file: ArtifactRecord) -> bool:
    """Whether a file can be shown; the spectrum with its fit is, as nothing shows more of a fit in little room."""
    return Path(file.path).suffix.lower() in PICTURE_SUFFIXES or file.kind == CTF_SPECTRUM.name


def _path_ang(path: Path, pixel_ang: Any) -> list[tuple[float, float]]:
    if not isinstance(pixel_ang, float):
        return []
    shifts = read_motion(read_star(path)).global_t2 * pixel_ang
    shifts = (shifts - shifts[0])[:: -(-len(shifts) // _MOST_POINTS)]
    return [(float(x), float(y)) for x, y in shifts]


def _curves(path: Path) -> RingCurves | None:
    rows = read_rotational_average(path)
    if len(rows) < 5:
        return None
    step = -(-len(rows[0]) // _MOST_POINTS)
    frequency, _, measured, fitted, quality = (
        [value if math.isfinite(value) else None for value in row[::step].tolist()] for row in rows[:5]
    )
    return RingCurves(frequency_per_ang=frequency, measured=measured, fitted=fitted, quality=quality)
