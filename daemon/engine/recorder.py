"""Makes what happened to a task true in one commit: its state, its result, its artifacts and its event.

The session's own record of a task is written before that commit: whoever dies in between finds the
record again and adopts it instead of doing the work twice.
"""

import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import structlog

from daemon import __version__
from daemon.domain.movie import FileIdentity
from daemon.domain.states import TaskState
from daemon.engine.attempts import STOPPED
from daemon.engine.context import OutputRules
from daemon.engine.failing import FailingSessions
from daemon.engine.work import ImageWork
from daemon.errors import FileNotWritten, FileUnanswered, IllegalMove
from daemon.formats.detached import PatientCalls
from daemon.messages import events
from daemon.messages.envelope import Event
from daemon.messages.error_info import ErrorInfo
from daemon.messages.events import TaskRef
from daemon.messages.subjects import Subjects
from daemon.pipeline.graph import StageGraph
from daemon.pipeline.result import TaskCompleted, TaskFailed
from daemon.sessions.outdated import used_by
from daemon.sessions.records import TaskRecord, remove_record, remove_results, write_record
from daemon.sessions.references import References, identify_reference, references_among, unanswered_reference
from daemon.store import sessions
from daemon.store import tasks as tasks_table
from daemon.store.changes import (
    Change,
    DropResults,
    EndTask,
    OutputRecord,
    PutBackTask,
    PutMetrics,
    QueueEvent,
    ReopenJob,
    StartAttempt,
)
from daemon.store.rows import TaskRow
from daemon.store.store import Store

log = structlog.get_logger(__name__)

_LOOK_LIMIT_S = 60.0
"""How long a file of the camera may take to say how it stands."""


async def _leave_as_it_is(_session_id: str, _movie: Path) -> None:
    """Nobody watches the session."""


class Recorder:
    """The engine's only way to write to the store.

    Whoever watches files or answers commands may end a task while it runs; what an attempt brings
    after that is late, and dropped.
    """

    def __init__(
        self,
        store: Store,
        graph: StageGraph,
        subjects: Subjects,
        *,
        on_event: Callable[[], None],
        rules: OutputRules | None = None,
        clock_s: Callable[[], float] = time.time,
    ) -> None:
        self.store = store
        self.graph = graph
        self.subjects = subjects
        self.now_s = clock_s
        self.deciding = anyio.Lock()
        """Held while someone reads the states of a movie's tasks and commits what follows from them."""
        self.on_set_aside: Callable[[str, Path], None] = lambda _id, _path: None
        """Called with session id and path after a movie was quarantined while it was processed."""
        self.on_look_again: Callable[[str, FileIdentity, str], bool] = lambda _id, _movie, _why: False
        """Has watching judge a quarantined movie anew, and why; False where nobody watches its session."""
        self.on_gain_read_again: Callable[[str, Path], Awaitable[None]] = _leave_as_it_is
        """Called with session id and path of a movie that was made again by a stage that reads its gain."""
        self.failing = FailingSessions(store, subjects)
        self.on_event = on_event
        self.rules = rules or OutputRules()
        self._calls = PatientCalls(_LOOK_LIMIT_S)
        self._references: dict[str, References] = {}
        """What tasks under way read of the camera, by task id."""

    async def start_attempt(self, work: ImageWork, task: TaskRow) -> bool:
        """Commit that an attempt begins; False when the task is no longer to be done.

        What an earlier attempt made is taken back, where a person asked for another result.
        """
        dropped = [await self.take_back(work, task)] if task.from_scratch else []
        # Before they are read: a file that changes meanwhile makes a result that nobody takes for the new one's.
        self._references[task.task_id] = await self.look_at_references(work, task.stage)
        now_s = self.now_s()
        parameters_hash = work.settings.hashes[task.stage]
        start = StartAttempt(task.task_id, task.attempts + 1, parameters_hash, now_s, takes_back=task.from_scratch)
        event = events.step_started(self.subjects, self.task_ref(work, task), at_s=now_s)
        return await self._commit_unless_late(task, task.attempts, TaskState.PENDING, [start, *dropped], [event])

    async def look_at_references(self, work: ImageWork, stage: str) -> References:
        """Say how the files of the camera stand that a stage reads; as unknown those that do not answer."""
        used, acquisition = self.graph[stage].acquisition, work.image.acquisition
        found: dict[str, Mapping[str, Any]] = {}
        for name, reference in references_among(used, acquisition).items():
            try:
                found[name] = await self._calls.call(reference.path, partial(identify_reference, reference))
            except FileUnanswered as error:
                log.warning(
                    "the gain, dark or defects file does not answer; the step is not compared with it",
                    image=work.image.name,
                    what=name,
                    reason=str(error),
                )
                found[name] = unanswered_reference(reference)
        return found

    async def take_back(self, work: ImageWork, task: TaskRow) -> DropResults:
        """Remove the files that a task's record names, and it; return what the store is to be told with it."""
        image = work.image
        paths = await anyio.to_thread.run_sync(remove_results, work.session.home, task.stage, image.name)
        return DropResults(task.session_id, image.image_id, task.task_id, task.stage, paths)

    async def let_go(self, work: ImageWork, stages: Collection[str]) -> None:
        """Put back what still runs of a visit that was asked to stop; whom it was stopped for has ended already."""
        running = await tasks_table.tasks(self.store, movie_id=work.movie.movie_id, states=(TaskState.RUNNING,))
        for task in running:
            if task.stage in stages:
                reason = "its visit was asked to stop"
                back = PutBackTask(task.task_id, reason, attempt=task.attempts, cause=STOPPED, at_s=self.now_s())
                await self._commit_unless_late(task, task.attempts, TaskState.RUNNING, [back], [])

    async def complete(self, work: ImageWork, task: TaskRow, completed: TaskCompleted) -> bool:
        """Write the task's record, then commit result, metrics, artifacts and event together; False when late.

        Raises FileNotWritten when the record cannot be written.
        """
        home = work.session.home
        record = self.make_record(work, task, completed)
        await anyio.to_thread.run_sync(
            partial(write_record, home, record, mode=self.rules.mode, group=self.rules.group)
        )
        if await self.commit_completed(work, task, completed, attempt=task.attempts + 1, cause="ran"):
            if task.attempts and "gain" in self.graph[task.stage].acquisition:
                await self.on_gain_read_again(work.session.session_id, work.movie.identity.path)
            return True
        await anyio.to_thread.run_sync(remove_record, home, task.stage, work.image.name)
        return False

    async def commit_completed(
        self, work: ImageWork, task: TaskRow, completed: TaskCompleted, *, attempt: int | None, cause: str
    ) -> bool:
        """Commit a result whose record is on disk; without `attempt`, one that was found there. False when late."""
        now_s = self.now_s()
        outputs = tuple(OutputRecord(out.product, out.path, out.size_bytes, out.sha256) for out in completed.outputs)
        changes: list[Change] = [
            EndTask(
                task.task_id,
                TaskState.COMPLETED,
                attempt=attempt,
                outputs=outputs,
                warnings=completed.warnings,
                parameters_hash=work.settings.hashes[task.stage],
                code_version=__version__,
                cause=cause,
                ended_at_s=now_s,
            ),
            PutMetrics(task.stage, work.image.image_id, task.task_id, completed.metrics),
        ]
        event = events.step_completed(
            self.subjects,
            self.task_ref(work, task, task.attempts if attempt is None else attempt),
            output_files=[out.path for out in completed.outputs],
            metrics=completed.metrics,
            at_s=now_s,
            warnings=completed.warnings,
        )
        expected = TaskState.PENDING if attempt is None else TaskState.RUNNING
        return await self._commit_unless_late(task, attempt or task.attempts, expected, changes, [event])

    async def put_back(self, work: ImageWork, task: TaskRow, failure: TaskFailed, *, due_s: float | None) -> None:
        """Commit that a failed attempt will be made again, not before `due_s`."""
        told = {"image": work.image.name, "stage": task.stage, "task": task.task_id}
        log.warning("task will be tried again", **told, reason=failure.message)
        back = PutBackTask(
            task.task_id,
            failure.message,
            attempt=task.attempts + 1,
            kind=failure.kind,
            hint=failure.hint,
            detail=failure.detail,
            cause="retryable failure",
            next_attempt_at_s=due_s,
            at_s=self.now_s(),
        )
        await self._commit_unless_late(task, task.attempts + 1, TaskState.RUNNING, [back], [])

    async def fail(self, work: ImageWork, task: TaskRow, failure: TaskFailed, *, attempt: int | None) -> None:
        """Write the task's record and commit its final failure; `attempt` None when none was under way."""
        told = {"image": work.image.name, "stage": task.stage, "task": task.task_id}
        log.error("task failed", **told, reason=failure.message, hint=failure.hint)
        record = self.make_record(work, task, failure)
        try:
            await anyio.to_thread.run_sync(
                partial(write_record, work.session.home, record, mode=self.rules.mode, group=self.rules.group)
            )
        except FileNotWritten as error:
            # The store knows the failure; without room on disk it is better told there than not at all.
            log.warning(
                "the note of a failure could not be written beside the results; the database has it",
                stage=task.stage,
                reason=str(error),
            )
        now_s = self.now_s()
        end = EndTask(
            task.task_id,
            TaskState.FAILED,
            attempt=attempt,
            reason=failure.message,
            kind=failure.kind,
            hint=failure.hint,
            retryable=failure.retryable,
            detail=failure.detail,
            parameters_hash=work.settings.hashes[task.stage],
            code_version=__version__,
            cause="failed",
            ended_at_s=now_s,
        )
        number = task.attempts if attempt is None else attempt
        info = ErrorInfo(kind=failure.kind, message=failure.message, retryable=failure.retryable, hint=failure.hint)
        event = events.step_failed(self.subjects, self.task_ref(work, task, number), error=info, at_s=now_s)
        expected = TaskState.PENDING if attempt is None else TaskState.RUNNING
        await self._commit_unless_late(task, number, expected, [end], [event])

    async def go_on_with_job(self, work: ImageWork) -> None:
        """A job that was cancelled goes on with a movie that came later; not where that was cancelled meanwhile."""
        async with self.deciding:
            owed = await tasks_table.tasks(self.store, movie_id=work.movie.movie_id)
            for job_id in sorted({task.job_id for task in owed if not task.state.is_terminal}):
                if await sessions.job_cancelled_by(self.store, job_id) is not None:
                    await self.store.commit(ReopenJob(job_id, None, at_s=self.now_s()))

    async def commit(self, changes: Sequence[Change], told: Sequence[Event]) -> None:
        """Commit changes and the events that tell of them together. Raises IllegalMove, StoreUnavailable."""
        queued = [QueueEvent(event.id, event.subject, event.body(), stream=self._stream(event)) for event in told]
        await self.store.commit(*changes, *queued)
        if queued:
            self.on_event()

    async def _commit_unless_late(
        self, task: TaskRow, attempts: int, expected: TaskState, changes: Sequence[Change], told: Sequence[Event]
    ) -> bool:
        """Commit; False when someone moved the task meanwhile. Raises IllegalMove when the change itself is wrong."""
        try:
            await self.commit(changes, told)
        except IllegalMove as error:
            now = await tasks_table.task(self.store, task.task_id)
            asked_anew = now is not None and now.from_scratch and not task.from_scratch
            if now is not None and (now.state, now.attempts) == (expected, attempts) and not asked_anew:
                raise
            log.info("late news of a task dropped", task=task.task_id, stage=task.stage, what=error.message)
            return False
        return True

    def _stream(self, event: Event) -> str:
        is_step = event.envelope.type.startswith("magellon.step.")
        return self.subjects.step_stream if is_step else self.subjects.session_stream

    def task_ref(self, work: ImageWork, task: TaskRow, attempt: int | None = None) -> TaskRef:
        """Return how events name this task; by default, the attempt that is next or under way."""
        known = task.stage in self.graph.names
        return TaskRef(
            job_id=task.job_id,
            task_id=task.task_id,
            image_id=work.image.image_id,
            image_name=work.image.name,
            step=self.graph[task.stage].slug if known else task.stage,
            attempt=task.attempts + 1 if attempt is None else attempt,
        )

    def make_record(self, work: ImageWork, task: TaskRow, outcome: TaskCompleted | TaskFailed) -> TaskRecord:
        """Return what the session's own records say of a task that ended so."""
        stage = self.graph[task.stage]
        return TaskRecord(
            session_id=work.session.session_id,
            session_name=work.session.name,
            image_id=work.image.image_id,
            image_name=work.image.name,
            stage=stage.name,
            stage_version=stage.version,
            elcano_version=__version__,
            parameters=work.settings.parameters[stage.name].model_dump(mode="json"),
            parameters_hash=work.settings.hashes[stage.name],
            movie=work.movie.identity,
            outcome=outcome,
            acquisition=used_by(stage, work.image.acquisition),
            references=self._references.pop(task.task_id, {}),
        )
