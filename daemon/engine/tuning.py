"""Moves what the running daemon works by: parameters of stages, and the gates of sessions."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from daemon.domain.identity import canonical_json, stable_id
from daemon.domain.movie import LedgerEntry
from daemon.domain.session import Session
from daemon.domain.states import MovieState, TaskState
from daemon.engine.engine import Engine
from daemon.engine.gatekeeper import GATE
from daemon.engine.lookup import check_stage, find_session, find_session_id
from daemon.errors import CommandRefused
from daemon.messages import commands, events
from daemon.messages.envelope import Event
from daemon.messages.events import TaskRef
from daemon.pipeline.gate import Limits, Verdict
from daemon.store import ledger, sessions, tasks
from daemon.store.changes import Change, EndTask, MoveMovie, PutBackTask, PutNotification, PutVerdict, SetControl
from daemon.store.results import Figures
from daemon.store.rows import TaskRow

_MAY_REOPEN = frozenset({MovieState.COMPLETE, MovieState.DONE, MovieState.FAILED})


@dataclass(frozen=True)
class _Moved:
    """What other limits mean for a session."""

    limits: Mapping[str, float | None]
    judged: Sequence[tuple[Figures, Verdict]]
    reopen: Sequence[tuple[TaskRow, LedgerEntry]]
    skip: Sequence[tuple[TaskRow, Verdict]]

    @property
    def token(self) -> str:
        """Changes with everything that applying would change."""
        told = [f"{figures.image_id} {verdict.passes}" for figures, verdict in self.judged]
        ids = sorted(task.task_id for task, _ in (*self.reopen, *self.skip))
        return stable_id("thresholds", canonical_json(dict(self.limits)), *told, *ids)[:13]

    def answer(self, *, preview: bool) -> dict[str, Any]:
        """Say how many pass; the same before and after."""
        refused = Counter(verdict.gate for _, verdict in self.judged if verdict.passes is False)
        return {
            "limits": dict(self.limits),
            "passes": sum(verdict.passes is True for _, verdict in self.judged),
            "refused": sum(refused.values()),
            "undecided": sum(verdict.passes is None for _, verdict in self.judged),
            "by_gate": dict(refused),
            "tasks_reopened": len(self.reopen),
            "tasks_skipped": len(self.skip),
            "token": self.token,
            "preview": preview,
        }


class Tuning:
    """Commands that move parameters and gates, and queries for what holds."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._store = engine.store
        self._recorder = engine.recorder
        self._keeper = engine.gatekeeper

    async def set_values(self, command: commands.StageParameters, asked_by: str) -> dict[str, Any]:
        """Let a stage run with other parameters from the next movie on."""
        check_stage(self._engine.graph, command.stage)
        if not command.values:
            raise CommandRefused("No parameter is named.", hint=f"`elcano parameters {command.stage}` shows them.")
        session_id = await find_session_id(self._store, command.session)
        book = self._engine.parameters
        async with self._recorder.deciding:
            planned = book.plan_values(command.stage, command.values, session_id, asked_by=asked_by, why=command.why)
            at_s = self._recorder.now_s()
            where = f" of {command.session}" if command.session else ""
            told = ", ".join(f"{key} = {value!r}" for key, value in command.values.items())
            message = f"{command.stage}{where} runs with {told} from the next movie on, by {asked_by}."
            key = stable_id("parameters", command.stage, session_id or "", f"{at_s:.6f}")
            note = PutNotification(
                key, "info", "parameters_changed", message, command.why, session_id=session_id, at_s=at_s
            )
            await self._store.commit(*planned, note)
            book.take_values(command.stage, command.values, session_id)
        return {"stage": command.stage, "parameters": book.check(command.stage, {}, session_id).model_dump(mode="json")}

    async def parameters(self, query: commands.ParametersQuery, asked_by: str) -> list[dict[str, Any]]:
        """Return what stages run with, and which of it people have set."""
        del asked_by
        check_stage(self._engine.graph, query.stage)
        session_id = await find_session_id(self._store, query.session)
        book = self._engine.parameters
        return [
            {
                "stage": stage,
                "parameters": book.check(stage, {}, session_id).model_dump(mode="json"),
                "set_for_all": book.standing(stage),
                "set_for_session": {} if session_id is None else book.standing(stage, session_id),
            }
            for stage in self._engine.graph.names
            if query.stage in {None, stage}
        ]

    async def gates(self, query: commands.GatesQuery, asked_by: str) -> dict[str, Any]:
        """Return the limits of a session and how many of its images pass."""
        del asked_by
        session = await find_session(self._store, query.session)
        moved = await self._plan(session, self._keeper.set_limits(session.session_id))
        described = [{"name": gate.name, "stage": gate.stage, "meaning": gate.meaning} for gate in self._keeper.gates]
        return {**moved.answer(preview=True), "gates": described}

    async def move_gates(self, command: commands.SessionThresholds, asked_by: str) -> dict[str, Any]:
        """Move the gates of a session, or say what that would do."""
        session = await find_session(self._store, command.session)
        known = {gate.name for gate in self._keeper.gates}
        unknown = sorted(command.limits.keys() - known)
        if unknown:
            raise CommandRefused(f"There is no gate {unknown[0]!r}.", hint=f"Known: {', '.join(sorted(known))}.")
        before = {} if command.reset else self._keeper.set_limits(session.session_id)
        set_here = {**before, **command.limits}
        async with self._recorder.deciding:
            moved = await self._plan(session, set_here)
            if command.preview:
                return moved.answer(preview=True)
            if command.token not in {None, moved.token}:
                raise CommandRefused(
                    "What was previewed is not what would happen now: more images were judged since.",
                    hint="Preview again.",
                )
            control = SetControl("gates", session.session_id, None, set_here or None, asked_by, command.why)
            await self._apply(session, moved, control, asked_by)
            self._keeper.take(session.session_id, set_here)
        self._offer(moved)
        return moved.answer(preview=False)

    async def follow_configuration(self, limits: Limits, *, asked_by: str) -> None:
        """Let configured limits hold from now on, and judge by them what was judged by others.

        At the start of the daemon, and when config.toml is read again. Raises StoreUnavailable.
        """
        async with self._recorder.deciding:
            self._keeper.configure(limits)
            for row in await sessions.sessions(self._store):
                moved = await self._plan(row.session, self._keeper.set_limits(row.session.session_id))
                await self._apply(row.session, moved, None, asked_by)
                self._offer(moved)

    async def _plan(self, session: Session, set_here: Limits) -> _Moved:
        limits = self._keeper.limits(session.session_id, set_here)
        judged = await self._keeper.judge_all(session.session_id, limits)
        verdicts = {figures.image_id: verdict for figures, verdict in judged}
        movies = {movie.movie_id: movie for movie in await ledger.movies(self._store, session.session_id, _MAY_REOPEN)}
        gated = {stage.name for stage in self._engine.graph.stages if stage.gated}
        reopen: list[tuple[TaskRow, LedgerEntry]] = []
        skip: list[tuple[TaskRow, Verdict]] = []
        for task in await self._gated_tasks(session, gated):
            verdict = verdicts.get(task.image_id or "")
            movie = movies.get(task.movie_id or "")
            if verdict is None or movie is None:
                continue
            if task.state is TaskState.SKIPPED and task.error_kind == GATE and verdict.passes is not False:
                reopen.append((task, movie))
            elif task.state is TaskState.PENDING and task.stage in gated and verdict.passes is False:
                skip.append((task, verdict))
        return _Moved(limits, judged, reopen, skip)

    async def _gated_tasks(self, session: Session, gated: set[str]) -> list[TaskRow]:
        if not gated:
            return []
        states = (TaskState.PENDING, TaskState.SKIPPED)
        return await tasks.tasks(self._store, session_id=session.session_id, states=states)

    async def _apply(self, session: Session, moved: _Moved, control: SetControl | None, asked_by: str) -> None:
        changes: list[Change] = [] if control is None else [control]
        told: list[Event] = []
        for figures, verdict in moved.judged:
            put = PutVerdict(session.session_id, figures.image_id, verdict.passes, verdict.gate, verdict.reason)
            if put != figures.verdict:
                changes.append(put)
        why = f"gates moved by {asked_by}"
        for task, _ in moved.reopen:
            changes.append(PutBackTask(task.task_id, why, cause=GATE, asked_by=asked_by))
        ended = {movie.movie_id for _, movie in moved.reopen if movie.state is not MovieState.COMPLETE}
        changes.extend(
            MoveMovie(movie_id, MovieState.COMPLETE, why, cause=GATE, asked_by=asked_by) for movie_id in sorted(ended)
        )
        names = {image.image_id: image.name for image in await sessions.images(self._store, session.session_id)}
        at_s = self._recorder.now_s()
        for task, verdict in moved.skip:
            changes.append(
                EndTask(
                    task.task_id,
                    TaskState.SKIPPED,
                    reason=verdict.reason,
                    kind=GATE,
                    cause=GATE,
                    asked_by=asked_by,
                    ended_at_s=at_s,
                )
            )
            slug = self._engine.graph[task.stage].slug
            image_id = task.image_id or ""
            ref = TaskRef(task.job_id, task.task_id, image_id, names.get(image_id, ""), slug, task.attempts)
            told.append(events.step_skipped(self._recorder.subjects, ref, reason=verdict.reason, at_s=at_s))
        await self._recorder.commit(changes, told)

    def _offer(self, moved: _Moved) -> None:
        """Let reopened images be processed, and those whose last open task was skipped be ended."""
        for _, movie in moved.reopen:
            self._engine.scheduler.offer(movie.movie_id, movie.last_write_s)
        for task, _ in moved.skip:
            if task.movie_id is not None:
                self._engine.scheduler.offer(task.movie_id, task.created_at_s)
