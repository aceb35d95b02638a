"""One visit of one image: its movie is read once, and every stage it owes runs on it in order.

Each stage stays a task of its own: its attempt is committed before it runs, its outputs are written
behind, and its result is committed, in stage order, when they are on disk.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace
from typing import TypeVar

import anyio
import structlog
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from daemon.domain.states import TaskState
from daemon.engine.adoption import adopt_finished
from daemon.engine.attempts import MOST_INTERRUPTIONS, UPSTREAM, count_failures, count_interruptions
from daemon.engine.budget import ByteBudget
from daemon.engine.context import OutputRules, TaskContext, Witness
from daemon.engine.device import ComputeThread
from daemon.engine.failures import describe_failure, describe_movie_failure, is_of_the_machine
from daemon.engine.figures import plain_metrics
from daemon.engine.inputs import GainCache, VisitInputs, decoding_bytes
from daemon.engine.recorder import Recorder
from daemon.engine.settlement import QUARANTINING, settle_image
from daemon.engine.work import ImageWork, StageSettings, VisitOutcome
from daemon.engine.writes import discard_writes, settle_writes
from daemon.errors import FormatUnsupported, OutOfMemory, ProductMissing, TaskCancelled
from daemon.formats.movie import decoded_header, read_movie_header
from daemon.pipeline.context import MovieItem
from daemon.pipeline.graph import AnyStage, StageGraph
from daemon.pipeline.product import MOVIE
from daemon.pipeline.result import OutputFile, StageResult, TaskCompleted, TaskFailed
from daemon.sessions.acquisition import complete_from_header
from daemon.store import tasks as tasks_table
from daemon.store.rows import TaskRow

log = structlog.get_logger(__name__)

T = TypeVar("T")

_HOPELESS = frozenset({FormatUnsupported.kind, "crashed"})
"""Failures of the movie itself that reading it again will not mend."""


@dataclass(frozen=True)
class Machinery:
    """What all visits share."""

    graph: StageGraph
    settings: StageSettings
    recorder: Recorder
    compute: ComputeThread
    readers: Executor
    writers: Executor
    gains: GainCache
    budget: ByteBudget
    witness: Witness
    rules: OutputRules
    decode_threads: int


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
        self._broken: set[str] = set()
        """Stages that did not succeed in this visit: what depends on them must not run."""

    async def run(self) -> VisitOutcome:
        """Run everything that can run now. A failure of the image is recorded, never raised.

        Raises StoreUnavailable: then nothing can be recorded any more.
        """
        try:
            return await self._run()
        except Exception as error:
            if is_of_the_machine(error):
                raise
            return await self._give_up(error)

    async def _run(self) -> VisitOutcome:
        adopted = await adopt_finished(self._recorder, self._work)
        finished = self._work.stages_in(TaskState.COMPLETED) | adopted
        owed = await self._find_owed(adopted)
        finished |= await self._find_inputs_on_disk(owed)
        segment = self._graph.ready(finished, owed)
        if segment:
            await self._run_segment([self._graph[name] for name in segment])
        if self._cancelled.is_set():
            return VisitOutcome()
        return VisitOutcome(await settle_image(self._recorder, self._work))

    async def _find_owed(self, adopted: frozenset[str]) -> list[str]:
        """Return the stages to run now; those that took the daemon down too often are failed instead."""
        owed = []
        for stage, task in self._work.due(self._recorder.now_s()).items():
            if stage in adopted or stage not in self._graph.names:
                continue
            if task.attempts >= MOST_INTERRUPTIONS:
                crashes = await count_interruptions(self._recorder.store, task)
                if crashes >= MOST_INTERRUPTIONS:
                    reason = f"the daemon died {crashes} times while it ran."
                    hint = "Look at this movie and at the daemon's log, then retry."
                    await self._recorder.fail(self._work, task, TaskFailed("crashed", reason, hint=hint), attempt=None)
                    continue
            owed.append(stage)
        return owed

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
            host_bytes = self._needed_bytes(stages, item)
            async with self._shared.budget.reserve(host_bytes, f"Processing {self._work.image.name}"):
                inputs = VisitInputs(
                    item, self._work.session.home, self._shared.gains, decode_threads=self._shared.decode_threads
                )
                failure = await self._read_movie(stages, inputs)
                if failure is None:
                    await self._compute_and_finish(stages, item, inputs)
        except OutOfMemory as error:
            failure = TaskFailed.from_error(error)
        except _MovieTrouble as trouble:
            failure = trouble.failure
        if failure is not None:
            await self._fail_before_start(stages, failure)

    async def _open_movie(self) -> MovieItem:
        path = self._work.movie.identity.path
        try:
            header = await self._in(self._shared.readers, lambda: read_movie_header(path))
        except Exception as error:  # noqa: BLE001 - whatever a reader raises costs this movie, not the daemon
            raise _MovieTrouble(describe_movie_failure(self._work.image.name, error)) from None
        return MovieItem(
            session_name=self._work.session.name,
            image_id=self._work.image.image_id,
            image_name=self._work.image.name,
            movie=header,
            acquisition=complete_from_header(self._work.image.acquisition, header),
        )

    def _needed_bytes(self, stages: Sequence[AnyStage], item: MovieItem) -> int:
        parameters = self._shared.settings.parameters
        try:
            decoded = decoded_header(item.movie, item.acquisition.eer)
            peak = max(stage.needs(decoded, parameters[stage.name]).host_bytes for stage in stages)
            reads = any(MOVIE in stage.consumes for stage in stages)
            return peak + (decoding_bytes(item, self._shared.decode_threads) if reads else 0)
        except Exception as error:  # noqa: BLE001 - as above
            raise _MovieTrouble(describe_failure(f"Sizing {item.image_name}", error)) from None

    async def _read_movie(self, stages: Sequence[AnyStage], inputs: VisitInputs) -> TaskFailed | None:
        """Decode the movie if anyone wants it, under an attempt: a file that kills its decoder must be counted."""
        for stage in stages:
            if MOVIE in stage.consumes and await self._begin(stage):
                break
        else:
            return None
        try:
            await self._in(self._shared.readers, inputs.read_ahead)
        except Exception as error:  # noqa: BLE001 - as above
            return describe_movie_failure(self._work.image.name, error)
        return None

    async def _begin(self, stage: AnyStage) -> bool:
        """Commit that an attempt begins; False when the task is not wanted any more."""
        if stage.name in self._started:
            return True
        if await self._recorder.start_attempt(self._work, self._work.pending[stage.name]):
            self._started.add(stage.name)
            return True
        self._broken.add(stage.name)
        return False

    async def _fail_before_start(self, stages: Sequence[AnyStage], failure: TaskFailed) -> None:
        """Fail every stage that nothing but the movie itself holds up; the others wait on those."""
        # A movie that was proven whole and still does not decode may be read again: the mount may have lied.
        again = failure.retryable or (failure.kind in QUARANTINING and failure.kind not in _HOPELESS)
        for stage in stages:
            if self._broken & set(self._graph.upstream(stage.name)):
                self._broken.add(stage.name)
            elif await self._begin(stage):
                await self._fail(stage, self._work.pending[stage.name], failure, try_again=again)

    async def _compute_and_finish(self, stages: Sequence[AnyStage], item: MovieItem, inputs: VisitInputs) -> None:
        send, receive = anyio.create_memory_object_stream[_Computed](len(stages))
        with receive:
            async with anyio.create_task_group() as group:
                group.start_soon(self._finish_in_order, receive)
                with send:
                    await self._compute(stages, item, inputs, send)

    async def _compute(
        self,
        stages: Sequence[AnyStage],
        item: MovieItem,
        inputs: VisitInputs,
        send: MemoryObjectSendStream[_Computed],
    ) -> None:
        for position, stage in enumerate(stages):
            if self._broken & set(self._graph.upstream(stage.name)) or self._cancelled.is_set():
                self._broken.add(stage.name)
            elif stage.name not in self._broken and await self._begin(stage):
                await self._compute_one(stage, item, inputs, send)
            inputs.release_all_but({product for later in stages[position + 1 :] for product in later.consumes})

    async def _compute_one(
        self, stage: AnyStage, item: MovieItem, inputs: VisitInputs, send: MemoryObjectSendStream[_Computed]
    ) -> None:
        task = self._work.pending[stage.name]
        context = TaskContext(
            stage,
            item,
            task.task_id,
            home=self._work.session.home,
            inputs=inputs,
            device=self._shared.compute.device,
            writers=self._shared.writers,
            witness=self._shared.witness,
            cancelled=self._cancelled,
            rules=self._shared.rules,
        )
        self._shared.witness.begin(self._recorder.task_ref(self._work, task))
        try:
            outcome = await self._run_stage(stage, item, context)
        finally:
            self._shared.witness.end(task.task_id)
        if isinstance(outcome, TaskFailed):
            await self._discard(context.begun())
            await self._fail(stage, task, outcome, try_again=outcome.retryable)
        else:
            await send.send(_Computed(task, outcome, context.begun()))

    async def _run_stage(self, stage: AnyStage, item: MovieItem, context: TaskContext) -> StageResult | TaskFailed:
        parameters = self._shared.settings.parameters[stage.name]

        def work() -> StageResult:
            context.check_cancelled()
            result = stage.run(item, parameters, context)
            context.check_all_written()
            return result

        try:
            return await asyncio.wrap_future(self._shared.compute.submit(work, priority=self._priority))
        except Exception as error:
            # Whatever a stage raises costs this task, not the daemon, unless the machine itself is broken.
            if is_of_the_machine(error):
                raise
            return describe_failure(stage.name, error)

    async def _finish_in_order(self, receive: MemoryObjectReceiveStream[_Computed]) -> None:
        async for computed in receive:
            stage = self._graph[computed.task.stage]
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
        outputs = await settle_writes(computed.files)
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

    async def _fail(self, stage: AnyStage, task: TaskRow, failure: TaskFailed, *, try_again: bool) -> None:
        self._broken.add(stage.name)
        if failure.kind == TaskCancelled.kind:
            return  # whoever cancelled it has recorded why
        if try_again:
            tries = await count_failures(self._recorder.store, task) + 1
            if tries < stage.retry.attempts:
                due_s = self._recorder.now_s() + stage.retry.delay_before(tries + 1)
                await self._recorder.put_back(self._work, task, failure, due_s=due_s)
                return
        await self._recorder.fail(self._work, task, failure, attempt=task.attempts + 1)

    async def _give_up(self, error: Exception) -> VisitOutcome:
        """Fail what is open of an image that trips the engine itself: it must neither stop nor loop the daemon."""
        failure = replace(describe_failure(f"Visiting {self._work.image.name}", error), kind="internal")
        log.error("visit failed", image=self._work.image.name, reason=failure.message, traceback=failure.detail)
        stopped: set[str] = set()
        for task in await tasks_table.tasks(self._recorder.store, movie_id=self._work.movie.movie_id):
            if task.state.is_terminal or task.stage not in self._graph.names:
                continue
            if not stopped & set(self._graph.upstream(task.stage)):
                runs = task.state is TaskState.RUNNING
                await self._recorder.fail(self._work, task, failure, attempt=task.attempts if runs else None)
            stopped.add(task.stage)
        return VisitOutcome(await settle_image(self._recorder, self._work))

    async def _discard(self, files: Sequence["Future[OutputFile]"]) -> None:
        await discard_writes(files, self._work.session.home, self._shared.writers)

    async def _in(self, executor: Executor, work: Callable[[], T]) -> T:
        return await asyncio.wrap_future(executor.submit(work))


class _MovieTrouble(Exception):
    """Nothing of this movie can start; carries the reason as a value, so that no traceback keeps its bytes alive."""

    def __init__(self, failure: TaskFailed) -> None:
        super().__init__(failure.message)
        self.failure = failure
