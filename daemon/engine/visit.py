"""One visit of one image: its movie is read once, and every stage it owes runs on it in order.

Each stage stays a task of its own: its attempt is committed before it runs, its outputs are written
behind, and its result is committed, in stage order, when they are on disk.
"""

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace

import anyio
import structlog
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from structlog.contextvars import bound_contextvars

from daemon.domain.states import TaskState
from daemon.engine.adoption import adopt_finished
from daemon.engine.attempts import CRASHES, MOST_CRASHES, NOBODYS_FAULT, UPSTREAM, count_ends
from daemon.engine.failures import describe_failure, describe_movie_failure, is_of_the_machine
from daemon.engine.figures import plain_metrics
from daemon.engine.isolation import CellBench
from daemon.engine.machinery import Machinery
from daemon.engine.settlement import QUARANTINING, settle_image
from daemon.engine.sizing import Memory, Size, size_up
from daemon.engine.work import ImageWork, VisitOutcome
from daemon.engine.workplace import Bench, Place, ThreadBench, read_limit_s
from daemon.engine.writes import discard_writes, settle_writes
from daemon.errors import (
    DiskFull,
    FormatUnsupported,
    OutOfMemory,
    ProductMissing,
    ReadStuck,
    StageHung,
    TaskCancelled,
)
from daemon.formats.movie import read_proven_header
from daemon.pipeline.context import MovieItem
from daemon.pipeline.graph import AnyStage
from daemon.pipeline.product import MOVIE
from daemon.pipeline.result import MetricValue, OutputFile, StageResult, TaskCompleted, TaskFailed
from daemon.sessions.acquisition import complete_from_header
from daemon.store import tasks as tasks_table
from daemon.store.rows import TaskRow

log = structlog.get_logger(__name__)

_HOPELESS = frozenset({FormatUnsupported.kind})
"""Failures of the movie itself that reading it again will not mend."""

_CRASH_PAUSE_S = 30.0
"""What crashed or hung lets others go first."""

_STUCK_PAUSE_S = 60.0
"""How often a movie whose read does not return asks whether it has."""

_READERS = "readers_stuck"
"""Kind of the trouble that no reader comes back."""

_RESULT_IMAGES = 3
"""Room to wait for after a write found none: about what the results of one movie take, as float32 micrographs."""


@dataclass(frozen=True)
class _Computed:
    """A stage has run; its files are on their way to disk."""

    task: TaskRow
    result: StageResult
    files: tuple["Future[OutputFile]", ...]


class Visit:
    """Takes one image through the stages it owes."""

    def __init__(self, machinery: Machinery, work: ImageWork, *, priority: int, cancelled: threading.Event) -> None:
        self._shared = machinery
        self._recorder = machinery.recorder
        self._graph = machinery.graph
        self._work = work
        self._priority = priority
        self._cancelled = cancelled
        self._started: set[str] = set()
        """Stages of which this visit has begun an attempt."""
        self._fresh: dict[str, Mapping[str, MetricValue]] = {}
        """Numbers of the stages that this visit has run; the store may not have them yet."""
        self._broken: set[str] = set()
        """Stages that did not succeed in this visit: what depends on them must not run."""
        self._result_bytes = 0
        """About what its results take on disk."""

    async def run(self) -> VisitOutcome:
        """Run everything that can run now. A failure of the image is recorded, never raised.

        Raises StoreUnavailable: then nothing can be recorded any more.
        """
        work = self._work
        with bound_contextvars(session=work.session.name, path=str(work.movie.identity.path), image=work.image.name):
            try:
                return await self._run()
            except Exception as error:
                if is_of_the_machine(error):
                    raise
                return await self._give_up(error)

    async def _run(self) -> VisitOutcome:
        if str(self._work.movie.identity.path) in self._shared.readers.stuck:
            return VisitOutcome(self._recorder.now_s() + _STUCK_PAUSE_S)
        if self._work.cancelled_by is not None and self._work.pending:
            await self._recorder.go_on_with_job(self._work)
        await self._run_what_is_owed()
        if self._cancelled.is_set():
            await self._recorder.let_go(self._work, self._started)
            return VisitOutcome()
        return VisitOutcome(await settle_image(self._shared, self._work))

    async def _run_what_is_owed(self) -> None:
        adopted = await adopt_finished(self._recorder, self._work)
        finished = self._work.stages_in(TaskState.COMPLETED) | adopted
        owed = self._find_owed(adopted)
        finished |= await self._find_inputs_on_disk(owed)
        segment = self._graph.ready(finished, owed)
        if segment:
            await self._run_segment([self._graph[name] for name in segment])

    def _find_owed(self, adopted: frozenset[str]) -> list[str]:
        """Return the stages to run now."""
        due = self._work.due(self._recorder.now_s())
        return [
            stage for stage in due if stage not in adopted and stage in self._graph.names and not self._is_held(stage)
        ]

    def _is_held(self, stage: str) -> bool:
        return self._shared.pauses.holds(stage, self._work.session.session_id)

    async def _is_suspect(self, stages: Sequence[AnyStage]) -> bool:
        """Whether earlier attempts say that this movie must not be computed in the daemon's own process."""
        for stage in stages:
            task = self._work.pending[stage.name]
            if task.attempts and (await count_ends(self._recorder.store, task)).is_suspect:
                return True
        return False

    async def _find_inputs_on_disk(self, owed: list[str]) -> set[str]:
        """Return the stages this image does not owe whose products are there; fail and drop who lacks one."""
        there: set[str] = set()
        tasks = {task.stage for task in self._work.tasks}
        for stage in list(owed):
            for product, maker in self._graph.inputs(stage):
                path = product.path(self._work.session.home, self._work.image.name)
                if maker in tasks:
                    continue
                if await anyio.to_thread.run_sync(path.is_file):
                    there.add(maker)
                else:
                    owed.remove(stage)
                    failure = TaskFailed.from_error(ProductMissing(product.name, path))
                    await self._recorder.fail(self._work, self._work.pending[stage], failure, attempt=None)
                    break
        return there

    async def _run_segment(self, stages: Sequence[AnyStage]) -> None:
        failure: TaskFailed | None
        try:
            item = await self._open_movie()
            size = self._size_up(stages, item, await self._shared.compute.memory_bytes())
            async with self._shared.budget.reserve(size.host_bytes, f"Processing {self._work.image.name}"):
                bench = await self._choose_bench(stages, item, size)
                try:
                    failure = await self._read_movie(stages, bench)
                    if failure is None:
                        await self._compute_and_finish(stages, bench)
                finally:
                    with anyio.CancelScope(shield=True):
                        await bench.close()
        except OutOfMemory as error:
            failure = TaskFailed.from_error(error)
        except _MovieTrouble as trouble:
            failure = trouble.failure
        if failure is not None:
            await self._fail_before_start(stages, failure)

    async def _open_movie(self) -> MovieItem:
        proven, limit_s = self._work.movie.identity, read_limit_s(0)
        try:
            header = await self._shared.readers.run_alive(str(proven.path), lambda: read_proven_header(proven), limit_s)
        except TimeoutError:
            raise _MovieTrouble(TaskFailed.from_error(ReadStuck(proven.path, limit_s))) from None
        except Exception as error:  # noqa: BLE001 - whatever a reader raises costs this movie, not the daemon
            raise _MovieTrouble(describe_movie_failure(self._work.image.name, error)) from None
        if len(self._shared.readers.stuck) < self._shared.readers.size:
            await self._shared.troubles.end(_READERS, "Movies can be read again.")
        return MovieItem(
            session_name=self._work.session.name,
            image_id=self._work.image.image_id,
            image_name=self._work.image.name,
            movie=header,
            acquisition=complete_from_header(self._work.image.acquisition, header),
        )

    def _size_up(self, stages: Sequence[AnyStage], item: MovieItem, device_bytes: int | None) -> Size:
        budget_bytes = self._shared.budget.statistics().total_bytes
        memory = Memory(budget_bytes, device_bytes, self._shared.decode_threads)
        try:
            return size_up(stages, self._work.settings.parameters, item, memory)
        except Exception as error:  # noqa: BLE001 - as above
            raise _MovieTrouble(describe_failure(f"Sizing {item.image_name}", error)) from None

    async def _choose_bench(self, stages: Sequence[AnyStage], item: MovieItem, size: Size) -> Bench:
        self._result_bytes = _RESULT_IMAGES * 4 * size.micrograph.width_px * size.micrograph.height_px
        place = Place(
            item,
            size.movie.data_bytes,
            self._work.movie.identity.size_bytes,
            size.by_frame,
            self._work.session.home,
            self._work.settings.parameters,
            size.needs,
        )
        if await self._is_suspect(stages):
            return CellBench(self._shared, place, cancelled=self._cancelled)
        return ThreadBench(self._shared, place, priority=self._priority, cancelled=self._cancelled)

    async def _read_movie(self, stages: Sequence[AnyStage], bench: Bench) -> TaskFailed | None:
        """Decode the movie if anyone wants it, under an attempt: a file that kills its decoder must be counted."""
        for stage in stages:
            if MOVIE in stage.consumes and await self._begin(stage):
                return await bench.read_movie()
        return None

    async def _begin(self, stage: AnyStage) -> bool:
        """Commit that an attempt begins; False when the task is not wanted any more."""
        if stage.name in self._started:
            return True
        if not self._is_held(stage.name) and await self._passes(stage) and await self._start(stage):
            self._started.add(stage.name)
            return True
        self._broken.add(stage.name)
        return False

    async def _passes(self, stage: AnyStage) -> bool:
        """Whether the gates let a stage begin; whom they refuse is skipped when the visit is settled."""
        if not stage.gated:
            return True
        return (await self._shared.gatekeeper.judge_now(self._work, self._fresh)).passes is True

    async def _start(self, stage: AnyStage) -> bool:
        return await self._recorder.start_attempt(self._work, self._work.pending[stage.name])

    async def _fail_before_start(self, stages: Sequence[AnyStage], failure: TaskFailed) -> None:
        """Fail every stage that nothing but the movie itself holds up; the others wait on those."""
        # A movie that was proven whole and still does not decode may be read again: the mount may have lied.
        again = failure.retryable or (failure.kind in QUARANTINING and failure.kind not in _HOPELESS)
        for stage in stages:
            if self._broken & set(self._graph.upstream(stage.name)):
                self._broken.add(stage.name)
            elif await self._begin(stage):
                await self._fail(stage, self._work.pending[stage.name], failure, try_again=again)

    async def _compute_and_finish(self, stages: Sequence[AnyStage], bench: Bench) -> None:
        send, receive = anyio.create_memory_object_stream[_Computed](len(stages))
        with receive:
            async with anyio.create_task_group() as group:
                group.start_soon(self._finish_in_order, receive)
                with send:
                    await self._compute(stages, bench, send)

    async def _compute(self, stages: Sequence[AnyStage], bench: Bench, send: MemoryObjectSendStream[_Computed]) -> None:
        for position, stage in enumerate(stages):
            if self._broken & set(self._graph.upstream(stage.name)) or self._cancelled.is_set():
                self._broken.add(stage.name)
            elif stage.name not in self._broken and await self._begin(stage):
                with bound_contextvars(stage=stage.name, task=self._work.pending[stage.name].task_id):
                    await self._compute_one(stage, bench, send)
            bench.release_all_but({product for later in stages[position + 1 :] for product in later.consumes})

    async def _compute_one(self, stage: AnyStage, bench: Bench, send: MemoryObjectSendStream[_Computed]) -> None:
        task = self._work.pending[stage.name]
        self._shared.witness.begin(self._recorder.task_ref(self._work, task))
        try:
            outcome = await bench.run(stage, task.task_id)
        except StageHung as error:
            # Told before the daemon ends for it: the next one must know.
            self._shared.on_hung()
            await self._fail(stage, task, TaskFailed.from_error(error), try_again=True)
            raise
        finally:
            self._shared.witness.end(task.task_id)
        if isinstance(outcome, TaskFailed):
            await self._fail(stage, task, outcome, try_again=outcome.retryable)
        else:
            self._fresh[stage.name] = plain_metrics(outcome.result.metrics)[0]
            await send.send(_Computed(task, outcome.result, outcome.files))

    async def _finish_in_order(self, receive: MemoryObjectReceiveStream[_Computed]) -> None:
        async for computed in receive:
            with bound_contextvars(stage=computed.task.stage, task=computed.task.task_id):
                await self._finish_or_fail(self._graph[computed.task.stage], computed)

    async def _finish_or_fail(self, stage: AnyStage, computed: _Computed) -> None:
        try:
            await self._finish(stage, computed)
        except Exception as error:
            if is_of_the_machine(error):
                raise
            failure = describe_failure(stage.name, error)
            await self._discard(computed.files)
            await self._fail(stage, computed.task, failure, try_again=failure.retryable)

    async def _finish(self, stage: AnyStage, computed: _Computed) -> None:
        """Wait for a stage's files and commit its result. Raises what writing them, or its record, raises."""
        what = f"the {stage.name} files of {self._work.image.name}"
        outputs = await settle_writes(computed.files, what, self._shared.writers, self._shared.troubles)
        if self._broken & set(self._graph.upstream(stage.name)):
            self._broken.add(stage.name)
            await self._discard(computed.files)
            why = f"an earlier stage of {self._work.image.name} could not write its files."
            await self._recorder.put_back(self._work, computed.task, TaskFailed(UPSTREAM, why), due_s=None)
            return
        metrics, warnings = plain_metrics(computed.result.metrics)
        completed = TaskCompleted(
            outputs=tuple(sorted(outputs, key=lambda output: output.path)),
            metrics=metrics,
            warnings=(*computed.result.warnings, *warnings),
        )
        if not await self._recorder.complete(self._work, computed.task, completed):
            self._broken.add(stage.name)
            await self._discard(computed.files)
            return
        await self._shared.room.note_written()

    async def _fail(self, stage: AnyStage, task: TaskRow, failure: TaskFailed, *, try_again: bool) -> None:
        self._broken.add(stage.name)
        if failure.kind == TaskCancelled.kind:
            return  # whoever cancelled it has recorded why
        if failure.kind in NOBODYS_FAULT:
            await self._wait_with(task, failure)
            return
        ends = await count_ends(self._recorder.store, task)
        now_s = self._recorder.now_s()
        due_s: float | None = None
        if failure.kind in CRASHES:
            if ends.crashes + 1 < MOST_CRASHES:
                due_s = now_s + _CRASH_PAUSE_S
            else:
                failure = replace(failure, message=f"{failure.message} So it went {MOST_CRASHES} times.")
        elif try_again and ends.failures + 1 < stage.retry.attempts:
            due_s = now_s + stage.retry.delay_before(ends.failures + 2)
        if due_s is None:
            await self._recorder.fail(self._work, task, failure, attempt=task.attempts + 1)
        else:
            await self._recorder.put_back(self._work, task, failure, due_s=due_s)

    async def _wait_with(self, task: TaskRow, failure: TaskFailed) -> None:
        """Put a task back that is held up by the disk, not by itself, and see to it that others wait as well."""
        now_s = self._recorder.now_s()
        if failure.kind == DiskFull.kind:
            await self._recorder.put_back(self._work, task, failure, due_s=now_s)
            await self._shared.room.note_full(self._work.session.home, failure.message, self._result_bytes)
        else:
            await self._recorder.put_back(self._work, task, failure, due_s=now_s + _STUCK_PAUSE_S)
            await self._tell_if_no_reader_is_left()

    async def _tell_if_no_reader_is_left(self) -> None:
        readers = self._shared.readers
        if len(readers.stuck) >= readers.size:
            paths = ", ".join(sorted(readers.stuck))
            message = f"No movie can be read: none of {readers.size} readers has come back from {paths}."
            hint = "Their file system hangs: check the mount; it goes on by itself."
            await self._shared.troubles.begin(_READERS, message, hint)

    async def _give_up(self, error: Exception) -> VisitOutcome:
        """Fail what is open of an image that trips the engine itself: it must neither stop nor loop the daemon."""
        failure = replace(describe_failure(f"Visiting {self._work.image.name}", error), kind="internal")
        log.error(
            "this movie could not be processed, by a fault of Elcano", reason=failure.message, traceback=failure.detail
        )
        stopped: set[str] = set()
        for task in await tasks_table.tasks(self._recorder.store, movie_id=self._work.movie.movie_id):
            if task.state.is_terminal or task.stage not in self._graph.names:
                continue
            if not stopped & set(self._graph.upstream(task.stage)):
                runs = task.state is TaskState.RUNNING
                await self._recorder.fail(self._work, task, failure, attempt=task.attempts if runs else None)
            stopped.add(task.stage)
        return VisitOutcome(await settle_image(self._shared, self._work))

    async def _discard(self, files: Sequence["Future[OutputFile]"]) -> None:
        what, shared = f"files of {self._work.image.name}", self._shared
        await discard_writes(files, self._work.session.home, what, shared.writers, shared.troubles)


class _MovieTrouble(Exception):
    """Nothing of this movie can start; carries the reason as a value, so that no traceback keeps its bytes alive."""

    def __init__(self, failure: TaskFailed) -> None:
        super().__init__(failure.message)
        self.failure = failure
