"""Answers by which sessions are browsed, and the one small thing that is done to one there: another title."""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from daemon.domain.names import readable_path
from daemon.domain.session import Session
from daemon.domain.states import MovieState
from daemon.engine.answers import Handler, session_notes
from daemon.engine.engine import Engine
from daemon.engine.lookup import find_session
from daemon.errors import CommandRefused
from daemon.messages import commands
from daemon.messages.sessions import (
    ImageCounts,
    OpticsGroup,
    SessionAnswer,
    SessionInfo,
    SessionNote,
    SessionQuery,
    SessionRename,
    SessionsAnswer,
    TreeAnswer,
    TreeQuery,
)
from daemon.pipeline.gate import BY_HAND
from daemon.sessions.acquisition import describe_acquisition
from daemon.sessions.closing import CLOSING
from daemon.sessions.left_alone import find_left_alone
from daemon.sessions.manifest import OF_MANIFEST, project_of
from daemon.sessions.optics import OPTICS_GROUPS
from daemon.sessions.troubles import PlaceTrouble
from daemon.store import metrics, results, session_tree, sessions
from daemon.store.changes import SetControl
from daemon.store.rows import SessionRow
from daemon.store.session_tree import SessionCounts

_MOST_TOLD = 20
_MOST_STAGES = 100


class SessionAnswers:
    """Handlers by name, as the responder wants them."""

    def __init__(
        self,
        engine: Engine,
        *,
        not_watched: Callable[[], Sequence[PlaceTrouble]] = list,
        report_of: Callable[[Session], Awaitable[Path | None]],
    ) -> None:
        """`not_watched` tells places in which movies are not seen, `report_of` where the report of a session lies."""
        self._store = engine.store
        self._recorder = engine.recorder
        self._not_watched = not_watched
        self._report_of = report_of

    def handlers(self) -> Mapping[str, Handler]:
        """Return every handler this class has."""
        return {"sessions": self.sessions, "session": self.session, "tree": self.tree, "session.rename": self.rename}

    async def sessions(self, _: commands.NoArguments, asked_by: str) -> SessionsAnswer:
        """Every session at a glance."""
        del asked_by
        counts = await session_tree.count_sessions(self._store)
        titles = await session_tree.read_titles(self._store)
        jobs = {job.session_id: job.job_id for job in await sessions.jobs(self._store)}
        return SessionsAnswer(
            sessions=[
                self._glance(
                    row,
                    counts.get(row.session.session_id, SessionCounts()),
                    titles.get(row.session.session_id, ("", ""))[0],
                    jobs.get(row.session.session_id, ""),
                )
                for row in await sessions.sessions(self._store)
            ]
        )

    async def session(self, query: SessionQuery, asked_by: str) -> SessionAnswer:
        """One session to its bottom. Raises CommandRefused."""
        del asked_by
        session = await find_session(self._store, query.session)
        row = await sessions.session(self._store, session.session_id)
        assert row is not None, "a session is never forgotten"
        decided = await sessions.decisions(self._store, session.session_id)
        latency = await metrics.latency(self._store, session.session_id)
        title = (await session_tree.read_titles(self._store, [session.session_id])).get(session.session_id)
        report = await self._report_of(session)
        verdicts = await results.count_verdicts(self._store, session.session_id)
        by_gate = sorted(verdicts.by_gate.items(), key=lambda each: (-each[1], each[0]))
        return SessionAnswer(
            session_id=session.session_id,
            imported_by=str(row.facts.get("asked_by") or ""),
            titled_by="" if title is None else title[1],
            manifest=dict(row.facts.get(OF_MANIFEST) or {}),
            acquisition=describe_acquisition(session.acquisition),
            stages=[str(stage) for stage in row.facts.get("stages") or ()][:_MOST_STAGES],
            optics_groups=await self._optics_groups(session, decided.get(OPTICS_GROUPS) or []),
            left_alone=[kind.said for kind in await find_left_alone(self._store, session)],
            refusals={gate: count for gate, count in by_gate if gate != BY_HAND},
            lacking=dict(verdicts.failed),
            latency="" if latency is None else f"half in {latency.p50_s:.0f} s, 95 % in {latency.p95_s:.0f} s",
            notes=await session_notes(self._store, row),
            troubles=self._troubles(session),
            told=[
                SessionNote(at_s=note.at_s or 0.0, severity=note.severity, message=note.message, hint=note.hint)
                for note in await sessions.notifications(self._store, session.session_id, _MOST_TOLD)
            ],
            closing=_closing(decided.get(CLOSING)),
            report="" if report is None else readable_path(report),
        )

    async def tree(self, query: TreeQuery, asked_by: str) -> TreeAnswer:
        """Images directly below one of a session, or those at its top. Raises CommandRefused."""
        del asked_by
        session = await find_session(self._store, query.session)
        total, nodes = await session_tree.read_nodes(
            self._store, session.session_id, query.parent, offset=query.offset, limit=query.limit
        )
        return TreeAnswer(
            session_id=session.session_id, parent=query.parent, offset=query.offset, total=total, nodes=nodes
        )

    async def rename(self, command: SessionRename, asked_by: str) -> dict[str, Any]:
        """Give a session another title; its name, folders and files stay."""
        session = await find_session(self._store, command.session)
        title = " ".join(command.title.split())
        if not title.isprintable():
            raise CommandRefused(
                "A title holds no control characters or halves of characters.", hint="Type it again by hand."
            )
        at_s = self._recorder.now_s()
        await self._store.commit(
            SetControl("title", session.session_id, None, title or None, asked_by, command.why, at_s)
        )
        return {"session_id": session.session_id, "session": session.name, "title": title}

    def _glance(self, row: SessionRow, counted: SessionCounts, title: str, job_id: str) -> SessionInfo:
        session = row.session
        movies = Counter(self._store.count_movies(session.session_id))
        done, waiting = movies[MovieState.DONE], (MovieState.SEEN, MovieState.SETTLING, MovieState.COMPLETE)
        failed = movies[MovieState.FAILED] + movies[MovieState.QUARANTINED]
        left = sum(movies[state] for state in waiting)
        return SessionInfo(
            session_id=session.session_id,
            name=session.name,
            title=title,
            project=project_of(row.facts.get(OF_MANIFEST) or {}),
            state=session.state,
            created_at_s=row.created_at_s,
            closed_at_s=row.closed_at_s,
            raw_directory=readable_path(session.raw_directory),
            home=readable_path(session.home),
            job_id=job_id,
            images=counted.images,
            counts=ImageCounts(
                done + failed + left, done, failed, left, counted.passing, counted.refused, counted.rejected
            ),
        )

    async def _optics_groups(self, session: Session, decided: Sequence[Mapping[str, Any]]) -> list[OpticsGroup]:
        numbers = await session_tree.count_by_optics_group(self._store, session.session_id)
        groups = dict(enumerate(decided, start=1))
        return [
            OpticsGroup(
                number=number,
                images=numbers.get(number, 0),
                said=_describe_group(groups.get(number, {}), session.acquisition.pixel_size_ang),
            )
            for number in sorted(groups.keys() | numbers.keys())
        ]

    def _troubles(self, session: Session) -> list[str]:
        raw = session.raw_directory
        here = (trouble for trouble in self._not_watched() if raw == trouble.path or raw in trouble.path.parents)
        return [f"{trouble.message} {trouble.hint}".strip() for trouble in here]


def _describe_group(facts: Mapping[str, Any], stated_pixel_ang: float | None) -> str:
    """Return what a group's movies share; the pixel size that a person states is used, not that of their headers."""
    pixel_ang = stated_pixel_ang or facts.get("pixel_size_ang")
    said = []
    if facts.get("width_px") and facts.get("height_px"):
        said.append(f"{facts['width_px']} × {facts['height_px']} px")
    if facts.get("frame_count"):
        said.append(f"{facts['frame_count']} frames")
    if facts and pixel_ang:
        said.append(f"{pixel_ang:.4g} Å/px")
    return ", ".join(said)


def _closing(asked: Mapping[str, Any] | None) -> str:
    if not asked or "reason" not in asked:
        return ""
    by = f", asked by {asked['asked_by']}" if asked.get("asked_by") else ""
    return f"{asked['reason']}{by}"
