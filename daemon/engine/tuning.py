"""Moves what the running daemon works by: parameters of stages, and the gates of sessions."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from daemon.config.gates import bounds_broken
from daemon.domain.identity import canonical_json, stable_id
from daemon.domain.movie import LedgerEntry
from daemon.domain.session import Session
from daemon.domain.states import MovieState, TaskState
from daemon.engine.engine import Engine
from daemon.engine.gatekeeper import GATE
from daemon.engine.lookup import check_stage, find_session, find_session_id
from daemon.errors import CommandRefused, IllegalMove
from daemon.messages import commands, events
from daemon.messages.envelope import Event
from daemon.messages.events import TaskRef
from daemon.pipeline.gate import BY_HAND, Limits, Verdict
from daemon.store import ledger, sessions, tasks
from daemon.store.changes import Change, EndTask, MoveMovie, PutBackTask, PutNotification, PutVerdict, SetControl
from daemon.store.marks import Mark
from daemon.store.results import Figures
from daemon.store.rows import TaskRow

_MAY_REOPEN = frozenset({MovieState.COMPLETE, MovieState.DONE, MovieState.FAILED})
_CHUNK = 1000
_MOST_RACES = 20
NO_MARKS: Mapping[str, Mark | None] = {}


@dataclass(frozen=True)
class Moved:
    """What other limits, or marks of people, mean for a session."""

    limits: Mapping[str, float | None]
    judged: Sequence[tuple[Figures, Verdict]]
    reopen: Sequence[tuple[TaskRow, LedgerEntry]]
    skip: Sequence[tuple[TaskRow, LedgerEntry, Verdict]]

    @property
    def token(self) -> str:
        """Changes with everything that applying would change."""
        told = [f"{figures.image_id} {verdict.passes}" for figures, verdict in self.judged]
        ids = sorted([task.task_id for task, _ in self.reopen] + [task.task_id for task, _, _ in self.skip])
        return stable_id("thresholds", canonical_json(dict(self.limits)), *told, *ids)[:13]

    def answer(self, *, preview: bool) -> dict[str, Any]:
        """Say how many pass; the same before and after."""
        refused = Counter(verdict.gate for _, verdict in self.judged if verdict.is_refused)
        failed = Counter(verdict.gate for _, verdict in self.judged if verdict.lacks_numbers)
        return {
            "limits": dict(self.limits),
            "passes": sum(verdict.passes is True for _, verdict in self.judged),
            "refused": sum(refused.values()),
            "undecided": sum(verdict.passes is None for _, verdict in self.judged),
            "by_gate": dict(refused),
            "failed": dict(failed),
            "accepted_by_hand": sum(verdict.passes is True and verdict.gate == BY_HAND for _, verdict in self.judged),
            "tasks_reopened": len(self.reopen),
            "tasks_skipped": len(self.skip),
            "token": self.token,
            "preview": preview,
        }


@dataclass(frozen=True)
class _Step:
    """What must become true together, and whom to offer then; small, so that many make one commit of a fair size."""

    changes: Sequence[Change]
    told: Sequence[Event] = ()
    offer: LedgerEntry | None = None


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
                **({"schema": book.described(stage)} if query.described else {}),
            }
            for stage in self._engine.graph.names
            if query.stage in {None, stage}
        ]

    async def gates(self, query: commands.GatesQuery, asked_by: str) -> dict[str, Any]:
        """Return the limits of a session and how many of its images pass, as they hold or were they moved."""
        del asked_by
        session = await find_session(self._store, query.session)
        moved = await self.plan(session, self._set_limits(session, query))
        described = [{"name": gate.name, "stage": gate.stage, "meaning": gate.meaning} for gate in self._keeper.gates]
        return {**moved.answer(preview=True), "gates": described}

    async def move_gates(self, command: commands.SessionThresholds, asked_by: str) -> dict[str, Any]:
        """Move the gates of a session, or say what that would do."""
        session = await find_session(self._store, command.session)
        set_here = self._set_limits(session, command)
        async with self._recorder.deciding:
            moved = await self.plan(session, set_here)
            if command.preview:
                return moved.answer(preview=True)
            if command.token not in {None, moved.token}:
                raise CommandRefused(
                    "What was previewed is not what would happen now: more images were judged since.",
                    hint="Preview again.",
                )
            # First: should the daemon end before all of it is applied, the next one goes on with it.
            await self._store.commit(
                SetControl("gates", session.session_id, None, set_here or None, asked_by, command.why)
            )
            self._keeper.take(session.session_id, set_here)
            await self.apply(session, moved, asked_by)
        return moved.answer(preview=False)

    def _set_limits(
        self, session: Session, asked: commands.SessionThresholds | commands.GatesQuery
    ) -> dict[str, float | None]:
        """Return what people would have set, were what is asked done. Raises CommandRefused."""
        known = {gate.name for gate in self._keeper.gates}
        unknown = sorted(asked.limits.keys() - known)
        if unknown:
            raise CommandRefused(f"There is no gate {unknown[0]!r}.", hint=f"Known: {', '.join(sorted(known))}.")
        for name, limit in asked.limits.items():
            if takes := bounds_broken(name, limit):
                raise CommandRefused(f"{name} cannot be {limit:g}: it is {takes}.")
        before = {} if asked.reset else self._keeper.set_limits(session.session_id)
        return {**before, **asked.limits}

    async def follow_configuration(self, limits: Limits, *, asked_by: str) -> None:
        """Let configured limits hold from now on, and judge by them what was judged by others.

        At the start of the daemon, and when config.toml is read again. Raises StoreUnavailable.
        """
        await self._tell_misfits()
        async with self._recorder.deciding:
            self._keeper.configure(limits)
            for row in await sessions.sessions(self._store):
                moved = await self.plan(row.session, self._keeper.set_limits(row.session.session_id))
                await self.apply(row.session, moved, asked_by)

    async def _tell_misfits(self) -> None:
        """Tell people which parameters that were set are left out."""
        for message in self._engine.parameters.take_misfits():
            hint = "Set them anew, or change config.toml back and restart."
            key = stable_id("parameters_left_out", message)
            await self._store.commit(
                PutNotification(key, "error", "parameters_left_out", message, hint, at_s=self._recorder.now_s())
            )

    async def plan(self, session: Session, set_here: Limits, marks: Mapping[str, Mark | None] = NO_MARKS) -> Moved:
        """Return what would change, were these the limits that people have set, and these the marks of images."""
        limits = self._keeper.limits(session.session_id, set_here)
        judged = await self._keeper.judge_all(session.session_id, limits, marks)
        verdicts = {figures.image_id: verdict for figures, verdict in judged if not figures.was_cancelled}
        movies = {movie.movie_id: movie for movie in await ledger.movies(self._store, session.session_id, _MAY_REOPEN)}
        gated = {stage.name for stage in self._engine.graph.stages if stage.gated}
        reopen: list[tuple[TaskRow, LedgerEntry]] = []
        skip: list[tuple[TaskRow, LedgerEntry, Verdict]] = []
        for task in await self._gated_tasks(session, gated):
            verdict = verdicts.get(task.image_id or "")
            movie = movies.get(task.movie_id or "")
            if verdict is None or movie is None:
                continue
            if task.state is TaskState.SKIPPED and task.error_kind == GATE and verdict.passes is not False:
                reopen.append((task, movie))
            elif task.state is TaskState.PENDING and task.stage in gated and verdict.passes is False:
                skip.append((task, movie, verdict))
        return Moved(limits, judged, reopen, skip)

    async def _gated_tasks(self, session: Session, gated: set[str]) -> list[TaskRow]:
        if not gated:
            return []
        states = (TaskState.PENDING, TaskState.SKIPPED)
        return await tasks.tasks(self._store, session_id=session.session_id, states=states)

    async def apply(self, session: Session, moved: Moved, asked_by: str, why: str = "gates moved") -> None:
        """Commit what was planned; a visit may move some of the tasks meanwhile: then the rest is planned again."""
        names = {image.image_id: image.name for image in await sessions.images(self._store, session.session_id)}
        for tries_left in reversed(range(_MOST_RACES)):
            steps = self._steps(session, moved, names, (asked_by, f"{why} by {asked_by}"))
            try:
                for begin in range(0, len(steps), _CHUNK):
                    await self._take(steps[begin : begin + _CHUNK])
            except IllegalMove:
                if not tries_left:
                    raise
            else:
                return
            moved = await self.plan(session, self._keeper.set_limits(session.session_id))

    async def _take(self, steps: Sequence[_Step]) -> None:
        """Commit a chunk; let reopened images be processed, and those whose last open task was skipped be ended."""
        changes = [change for step in steps for change in step.changes]
        await self._recorder.commit(changes, [event for step in steps for event in step.told])
        for step in steps:
            if step.offer is not None:
                self._engine.scheduler.offer(step.offer.movie_id, step.offer.last_write_s)

    def _steps(self, session: Session, moved: Moved, names: Mapping[str, str], asked: tuple[str, str]) -> list[_Step]:
        asked_by, why = asked
        steps: list[_Step] = []
        for figures, verdict in moved.judged:
            put = PutVerdict(session.session_id, figures.image_id, verdict.passes, verdict.gate, verdict.reason)
            if put != figures.verdict:
                steps.append(_Step([put]))
        put_back: dict[str, list[Change]] = {}
        for task, movie in moved.reopen:
            put_back.setdefault(movie.movie_id, []).append(
                PutBackTask(task.task_id, why, cause=GATE, asked_by=asked_by)
            )
        for movie in {movie.movie_id: movie for _, movie in moved.reopen}.values():
            changes = put_back[movie.movie_id]
            if movie.state is not MovieState.COMPLETE:
                changes.append(MoveMovie(movie.movie_id, MovieState.COMPLETE, why, cause=GATE, asked_by=asked_by))
            steps.append(_Step(changes, offer=movie))
        for task, movie, verdict in moved.skip:
            steps.append(self._skip(task, movie, verdict, names, asked_by))
        return steps

    def _skip(
        self, task: TaskRow, movie: LedgerEntry, verdict: Verdict, names: Mapping[str, str], asked_by: str
    ) -> _Step:
        at_s = self._recorder.now_s()
        end = EndTask(
            task.task_id,
            TaskState.SKIPPED,
            reason=verdict.reason,
            kind=GATE,
            cause=GATE,
            asked_by=asked_by,
            ended_at_s=at_s,
        )
        slug, image_id = self._engine.graph[task.stage].slug, task.image_id or ""
        ref = TaskRef(task.job_id, task.task_id, image_id, names.get(image_id, ""), slug, task.attempts)
        told = events.step_skipped(self._recorder.subjects, ref, reason=verdict.reason, at_s=at_s)
        return _Step([end], [told], movie)
