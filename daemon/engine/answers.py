"""What the daemon answers to queries; what it does on command is in daemon.engine.controls."""

import os
import re
import socket
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import anyio.to_thread
import msgspec

from daemon import __version__
from daemon.domain.motion import NOT_RELIED_ON
from daemon.domain.session import Session
from daemon.domain.states import TaskState
from daemon.engine.engine import Engine
from daemon.engine.jobs import view_jobs
from daemon.engine.lookup import check_stage, find_session, find_session_id
from daemon.engine.troubles import Trouble, place_trouble
from daemon.errors import CommandRefused
from daemon.messages import commands
from daemon.messages.news import NotificationEntry, NotificationsAnswer, NotificationsQuery
from daemon.pipeline.product import product_categories
from daemon.sessions.audit import AuditReport, Selects, audit_session, is_movie_name
from daemon.sessions.defocus_check import defocus_note
from daemon.sessions.first_movie import first_movie_notes
from daemon.sessions.found_orientation import gain_notes
from daemon.sessions.left_alone import find_left_alone
from daemon.sessions.manifest import NOT_USED
from daemon.sessions.raw_files import NO_LINKS, RawPlaces
from daemon.sessions.troubles import PlaceTrouble
from daemon.sessions.unowned import account_of_no_session
from daemon.store import counts, metrics, results, sessions, tasks
from daemon.store.rows import SessionRow, TaskRow
from daemon.store.standing import count_partly_cancelled
from daemon.store.store import Store

Handler = Callable[[Any, str], Awaitable[Any]]

_LATEST_FAILURES = 100
_LATEST_NOTIFICATIONS = 5
_UNSEEN_FOR_S = 30.0
"""Age below which a file that the ledger lacks is no gap while the daemon runs: watching gets to it in time."""


class Answers:
    """Handlers by name, as the responder wants them."""

    def __init__(
        self,
        store: Store,
        engine: Engine,
        *,
        bus_status: Callable[[], dict[str, Any]],
        watching: Callable[[], list[dict[str, Any]]],
        passed_over: Callable[[], list[str]] = list,
        not_imported: Callable[[], list[dict[str, str]]] = list,
        paused: Callable[[], Awaitable[list[dict[str, Any]]]],
        running: Callable[[], list[dict[str, Any]]],
        not_watched: Callable[[], Sequence[PlaceTrouble]] = list,
        foreseen: Callable[[], Sequence[Trouble]] = list,
        selects: Callable[[Session], Selects] = lambda _: is_movie_name,
        places: RawPlaces = NO_LINKS,
        clock_s: Callable[[], float] = time.time,
    ) -> None:
        """Take what other parts of the daemon know.

        `passed_over` names folders with movies that belong to no session, `not_imported` those whose session could not
        be imported, and why; `not_watched` tells places in which movies are not seen, `foreseen` what will hold work
        up; `selects` gives, for a session, the watcher's own test of what is a movie; `places` says where links may
        lead.
        """
        self._store = store
        self._graph = engine.graph
        self._scheduler = engine.scheduler
        self._budget = engine.budget
        self._troubles = engine.troubles
        self._bus_status = bus_status
        self._watching = watching
        self._passed_over = passed_over
        self._not_imported = not_imported
        self._paused = paused
        self._running = running
        self._not_watched = not_watched
        self._foreseen = foreseen
        self._selects = selects
        self._places = places
        self._clock_s = clock_s
        self._compute = engine.compute
        self._engine = engine
        self._folders = tuple(
            dict.fromkeys((*product_categories(), *(stage.category for stage in engine.graph.stages)))
        )
        self._started_s = clock_s()

    def handlers(self) -> Mapping[str, Handler]:
        """Return every handler this class has."""
        return {
            "status": self.status,
            "jobs": self.jobs,
            "tasks": self.tasks,
            "images": self.images,
            "metrics": self.metrics,
            "queues": self.queues,
            "notifications": self.notifications,
            "sql": self.sql,
            "audit": self.audit,
        }

    async def status(self, _: commands.NoArguments, asked_by: str) -> dict[str, Any]:
        """Everything a person wants to see first."""
        del asked_by
        rows = await sessions.sessions(self._store)
        latest = NotificationsQuery(limit=_LATEST_NOTIFICATIONS)
        cancelled = await count_partly_cancelled(self._store)
        return {
            "version": __version__,
            "host": socket.gethostname(),
            "uptime_s": self._clock_s() - self._started_s,
            "pid": os.getpid(),
            "device": self._compute.facts.device,
            "preparing": self._engine.preparing,
            "bus": self._bus_status(),
            "sessions": [await self._session_summary(row, cancelled.get(row.session.session_id, 0)) for row in rows],
            "jobs": await self.jobs(commands.JobsQuery(), ""),
            "queues": await self.queues(commands.NoArguments(), ""),
            "watching": self._watching(),
            "passed_over": self._passed_over(),
            "not_imported": self._not_imported(),
            "failures": await self._latest_failures(rows),
            "notifications": {
                "total": await counts.count_notifications(self._store),
                "latest": msgspec.to_builtins((await self.notifications(latest, "")).notifications),
            },
            "running": self._running(),
            "troubles": [trouble.told() for trouble in self._lasting_troubles()],
        }

    async def jobs(self, query: commands.JobsQuery, asked_by: str) -> list[dict[str, Any]]:
        """Jobs with their counts by step and state, newest first."""
        del asked_by
        wanted = await find_session_id(self._store, query.session)
        return [asdict(view) for view in await view_jobs(self._store, self._graph, wanted)]

    async def tasks(self, query: commands.TasksQuery, asked_by: str) -> list[dict[str, Any]]:
        """Tasks in pipeline order."""
        del asked_by
        rows = await tasks.tasks(
            self._store,
            session_id=await find_session_id(self._store, query.session),
            job_id=query.job_id,
            stage=query.stage,
            states=() if query.state is None else (_task_state(query.state),),
            limit=query.limit,
        )
        return await anyio.to_thread.run_sync(_tell_tasks, rows)

    async def images(self, query: commands.ImagesQuery, asked_by: str) -> list[Mapping[str, Any]]:
        """Images of a session with their states and figures."""
        del asked_by
        session_id = (await find_session(self._store, query.session)).session_id
        return await metrics.micrographs(self._store, session_id, limit=query.limit)

    async def metrics(self, query: commands.MetricsQuery, asked_by: str) -> dict[str, Any]:
        """The metric table of one stage."""
        del asked_by
        check_stage(self._graph, query.stage)
        session_id = await find_session_id(self._store, query.session)
        return {"rows": await metrics.stage_rows(self._store, query.stage, session_id, limit=query.limit)}

    async def notifications(self, query: NotificationsQuery, asked_by: str) -> NotificationsAnswer:
        """What people should know, newest first. Raises CommandRefused."""
        del asked_by
        session_id = await find_session_id(self._store, query.session)
        names = {row.session.session_id: row.session.name for row in await sessions.sessions(self._store)}
        kept = await sessions.notifications(self._store, session_id, query.limit)
        return NotificationsAnswer(
            notifications=[
                NotificationEntry(
                    notification_id=each.notification_id,
                    severity=each.severity,
                    kind=each.kind,
                    message=each.message,
                    hint=each.hint,
                    raised_at_s=each.at_s or 0.0,
                    session_id=each.session_id,
                    session=names.get(each.session_id or "", ""),
                )
                for each in kept
            ]
        )

    async def queues(self, _: commands.NoArguments, asked_by: str) -> dict[str, Any]:
        """Depths of everything that can fill up."""
        del asked_by
        return {
            "scheduler": asdict(self._scheduler.statistics()),
            "byte_budget": asdict(self._budget.statistics()),
            "paused": await self._paused(),
        }

    async def sql(self, query: commands.SqlQuery, asked_by: str) -> dict[str, Any]:
        """One read-only SQL statement."""
        del asked_by
        result = await self._store.user_query(query.statement, limit_rows=query.limit, timeout_s=query.timeout_s)
        return dict(vars(result))  # not asdict: it would copy every value of every row, on the event loop

    async def audit(self, query: commands.AuditQuery, asked_by: str) -> list[dict[str, Any]]:
        """Reconcile disk, ledger and outputs."""
        del asked_by
        wanted = await find_session_id(self._store, query.session)
        rows = [row for row in await sessions.sessions(self._store) if wanted in {None, row.session.session_id}]
        reports = [
            await audit_session(
                self._store,
                row.session,
                self._folders,
                selects=self._selects(row.session),
                deep=query.deep,
                unseen_for_s=_UNSEEN_FOR_S,
                places=self._places,
            )
            for row in rows
        ]
        if wanted is None and not (outside := self._account_outside(rows)).is_clean:
            reports.append(outside)
        return [{**asdict(report), "is_clean": report.is_clean} for report in reports]

    def _account_outside(self, rows: Sequence[SessionRow]) -> AuditReport:
        """Account for all that lies under the roots and is in none of these sessions, which are all there are."""
        known = {row.session.raw_directory for row in rows}
        refused = {Path(each["directory"]): each["reason"] for each in self._not_imported()}
        return account_of_no_session(
            [Path(folder) for folder in self._passed_over()],
            {folder: why for folder, why in refused.items() if folder not in known},
            # What is inside a session is that session's own account.
            {each.path: each.text for each in self._not_watched() if known.isdisjoint((each.path, *each.path.parents))},
        )

    async def _latest_failures(self, rows: Sequence[SessionRow]) -> dict[str, Any]:
        """Return the newest failures; one for want of a value says which key was written in its place."""
        unused = {row.session.name: row.facts.get(NOT_USED) or () for row in rows}
        failures = asdict(await metrics.latest_failures(self._store, limit=_LATEST_FAILURES))
        for failure in failures["latest"]:
            for said in unused.get(failure["session"], ()):
                meant = re.search(r"did you mean (\w+)", said)
                if meant and re.search(rf"\b{meant[1]}\b", failure["reason"]):
                    failure["hint"] = f"session.json: {said} {failure['hint']}".strip()
        return failures

    def _lasting_troubles(self) -> list[Trouble]:
        not_watched = (place_trouble(place) for place in self._not_watched())
        return [*self._troubles.lasting(), *not_watched, *self._foreseen()]

    async def _session_summary(self, row: SessionRow, partly_cancelled: int) -> dict[str, Any]:
        latency = await metrics.latency(self._store, row.session.session_id)
        doubted, first = await _count_doubted(self._store, row.session.session_id)
        return {
            "session_id": row.session.session_id,
            "name": row.session.name,
            "state": row.session.state,
            "raw_directory": str(row.session.raw_directory),
            "home": str(row.session.home),
            "movies": {str(s): n for s, n in self._store.count_movies(row.session.session_id).items()},
            "partly_cancelled": partly_cancelled,
            "other_files": await counts.count_no_movies(self._store, row.session.session_id),
            "latency": None if latency is None else asdict(latency),
            "left_alone": [asdict(kind) for kind in await find_left_alone(self._store, row.session)],
            "gates": asdict(await results.count_verdicts(self._store, row.session.session_id)),
            "doubted_motion": {"movies": doubted, "first": first},
            "notes": await session_notes(self._store, row),
        }


async def session_notes(store: Store, row: SessionRow) -> list[str]:
    """Say what nobody has given, what was given and is not used, and what the results of a session lack for it."""
    session = row.session
    notes = [f"session.json: {said}" for said in row.facts.get(NOT_USED) or ()]
    decided = await sessions.decisions(store, session.session_id)
    notes += first_movie_notes(session.acquisition, decided)
    notes += gain_notes(session.acquisition, decided)
    if session.acquisition.defocus_range_um is not None:
        measured_ang = await metrics.trusted_defocus_ang(store, session.session_id)
        notes += filter(None, [defocus_note(session.acquisition, measured_ang)])
    doubted, first = await _count_doubted(store, session.session_id)
    if doubted:
        which = first if doubted == 1 else f"{doubted} movies, the first {first},"
        notes.append(f"the motion of {which} is not to be relied on: look at the motion picture, which says why")
    unweighted = await metrics.count_unknown(
        store, "motion_correction", "dose_per_frame_e_per_ang2", session.session_id
    )
    if unweighted:
        notes.append(f"the dose of {unweighted} micrograph(s) is not known: their sums are not dose-weighted")
    return notes


async def _count_doubted(store: Store, session_id: str) -> tuple[int, str]:
    """Movies whose motion is not to be relied on, and the first of them by name."""
    return await metrics.count_remarked(store, "motion_correction", NOT_RELIED_ON, session_id)


def _tell_tasks(rows: Sequence[TaskRow]) -> list[dict[str, Any]]:
    # Ten thousand of them: not on the event loop, and no copy of every value in every row, as asdict makes.
    return [{**vars(row), "wire_code": row.state.wire_code} for row in rows]


def _task_state(named: str) -> TaskState:
    try:
        return TaskState(named)
    except ValueError as error:
        raise CommandRefused(f"There is no task state {named!r}.", hint=f"Known: {', '.join(TaskState)}.") from error
