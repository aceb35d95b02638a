"""The engine put together: stages, threads, budget, recorder and scheduler, from plain settings."""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import structlog
from pydantic import BaseModel, ValidationError

from daemon.engine.assembly import fetch_work
from daemon.engine.backlog import Order
from daemon.engine.budget import ByteBudget
from daemon.engine.compute import ComputeThread
from daemon.engine.compute_check import check_compute
from daemon.engine.context import OutputRules, Witness
from daemon.engine.gatekeeper import Gatekeeper
from daemon.engine.inputs import CameraCache
from daemon.engine.kernel_store import KernelStore
from daemon.engine.machinery import Machinery
from daemon.engine.pace import READING, WRITING, Pace
from daemon.engine.parameters import ParameterBook
from daemon.engine.pauses import Pauses
from daemon.engine.recorder import Recorder
from daemon.engine.scheduler import Scheduler
from daemon.engine.space import DiskReserve
from daemon.engine.threads import FileThreads
from daemon.engine.troubles import Troubles
from daemon.errors import CommandRefused
from daemon.messages.subjects import Subjects
from daemon.pipeline.gate import GATES, Gate, Limits
from daemon.pipeline.graph import AnyStage, StageGraph
from daemon.pipeline.stage import StageParams
from daemon.store.controls import read_controls
from daemon.store.store import Store

log = structlog.get_logger(__name__)

_PREPARING = "preparing what computes"
_COMPILING = f"{_PREPARING} (compiling, about a minute the first time)"


@dataclass(frozen=True)
class EngineSettings:
    """What the engine may use; `device` is auto, cpu or cuda[:n]."""

    home: Path
    device: str = "auto"
    threads: int = 1
    byte_budget_bytes: int = 8 * 2**30
    readers: int = 2
    writers: int = 2
    order: Order = "normal"
    group: str | None = None
    disk_reserve_bytes: int = 0
    gates: Limits = field(default_factory=dict)
    """Configured limits; a gate not named here has its own default."""


class Engine:
    """Everything that turns complete movies into results. `close` ends its threads."""

    preparing = ""
    """What keeps the first movie from being begun, empty once it is certain that what computes can be loaded."""

    def __init__(
        self,
        store: Store,
        stages: Sequence[tuple[AnyStage, StageParams]],
        settings: EngineSettings,
        subjects: Subjects,
        witness: Witness,
        *,
        on_event: Callable[[], None],
        on_hung: Callable[[], None] = lambda: None,
        gates: Sequence[Gate] = GATES,
        clock_s: Callable[[], float] = time.time,
    ) -> None:
        """`stages` are the enabled ones with their parameters; `on_event` is called after events were committed.

        `on_hung` is called when a stage hangs, just before the scheduler ends with StageHung.

        What computes is loaded with the first movie. Raises ValueError for stages whose inputs nobody makes.
        """
        self.graph = StageGraph.of(stage for stage, _ in stages)
        self.compute = ComputeThread(settings.device, settings.threads)
        self.budget = ByteBudget(settings.byte_budget_bytes)
        self.pace = Pace()
        self.readers = FileThreads(settings.readers, "reader", partial(self.pace.working, READING))
        self.writers = FileThreads(settings.writers, "writer", partial(self.pace.working, WRITING))
        controls = store.read_now(read_controls)
        self.store = store
        self.parameters = ParameterBook(stages, controls)
        self.pauses = Pauses(controls)
        self.gatekeeper = Gatekeeper(store, gates, settings.gates, controls)
        rules = OutputRules(group=settings.group)
        self.recorder = Recorder(store, self.graph, subjects, on_event=on_event, rules=rules, clock_s=clock_s)
        self.troubles = Troubles(store.commit)
        self.room = DiskReserve(settings.home, settings.disk_reserve_bytes, troubles=self.troubles)
        machinery = Machinery(
            graph=self.graph,
            pauses=self.pauses,
            gatekeeper=self.gatekeeper,
            recorder=self.recorder,
            compute=self.compute,
            readers=self.readers,
            writers=self.writers,
            camera=CameraCache(),
            budget=self.budget,
            witness=witness,
            rules=rules,
            room=self.room,
            troubles=self.troubles,
            on_hung=on_hung,
            threads=settings.threads,
            decode_threads=settings.threads,
            pace=self.pace,
        )
        self.scheduler = Scheduler(
            machinery,
            partial(fetch_work, store, self.parameters),
            self.room.wait_for_room,
            visits_in_flight=1 + settings.readers,  # one is computed while others are read and written
            order=settings.order,
        )

    async def prove_compute(self, kernels: KernelStore) -> None:
        """Return once it is certain that what computes can be loaded; to be called before any movie is taken up.

        kernels: where compiled ones are kept, and thrown away if they do not run.
        Raises ComputeUnavailable, and ConfigurationInvalid for a device that is not there.
        """
        self.preparing = _COMPILING if kernels.is_empty() else _PREPARING
        log.info(self.preparing)
        try:
            if "torch" in sys.modules:
                await self.compute.device()
            else:
                self.compute.note_found(await check_compute(self.compute.wanted, kernels))
        finally:
            self.preparing = ""

    async def set_parameters(self, stage: str, params: BaseModel, *, asked_by: str, cause: str) -> None:
        """Let a stage run with these configured parameters, all of them, from the next movie on.

        For config.toml read again; values that people set by command over keys that change here end. Movies in
        work keep what they began with, tasks with parameters of their own keep those. Who and why is recorded.
        Raises CommandRefused for a stage that does not run or parameters that are not its own, StoreUnavailable.
        """
        if stage not in self.graph.names:
            raise CommandRefused(f"There is no stage {stage!r}.", hint=f"Known: {', '.join(self.graph.names)}.")
        try:
            checked = self.graph[stage].Params.model_validate(params.model_dump())
        except ValidationError as error:
            raise CommandRefused(f"{stage} does not take these parameters: {error}") from error
        async with self.recorder.deciding:
            await self.store.commit(*self.parameters.plan_configured(stage, checked, asked_by=asked_by, why=cause))
            self.parameters.take_configured(stage, checked)

    def close(self) -> None:
        """End the threads, once the scheduler has stopped; what they still had to do stays pending in the store."""
        self.compute.close()
        self.readers.shutdown(cancel_futures=True)
        self.writers.shutdown(cancel_futures=True)
