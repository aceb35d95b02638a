"""The engine put together: stages, threads, budget, recorder and scheduler, from plain settings."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from daemon.domain.identity import parameters_hash
from daemon.engine.assembly import fetch_work
from daemon.engine.backlog import Order
from daemon.engine.budget import ByteBudget
from daemon.engine.context import OutputRules, Witness
from daemon.engine.device import ComputeThread, choose_device
from daemon.engine.inputs import GainCache
from daemon.engine.recorder import Recorder
from daemon.engine.scheduler import Scheduler
from daemon.engine.space import DiskReserve
from daemon.engine.visit import Machinery
from daemon.engine.work import StageSettings
from daemon.messages.subjects import Subjects
from daemon.pipeline.graph import AnyStage, StageGraph
from daemon.pipeline.stage import StageParams
from daemon.store.store import Store


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


class Engine:
    """Everything that turns complete movies into results. `close` ends its threads."""

    def __init__(
        self,
        store: Store,
        stages: Sequence[tuple[AnyStage, StageParams]],
        settings: EngineSettings,
        subjects: Subjects,
        witness: Witness,
        *,
        on_event: Callable[[], None],
        clock_s: Callable[[], float] = time.time,
    ) -> None:
        """`stages` are the enabled ones with their parameters; `on_event` is called after events were committed.

        Raises ValueError for stages whose inputs nobody makes, or for a device that is not there.
        """
        self.graph = StageGraph.of(stage for stage, _ in stages)
        self.compute = ComputeThread(choose_device(settings.device), settings.threads)
        self.budget = ByteBudget(settings.byte_budget_bytes)
        self._readers = ThreadPoolExecutor(settings.readers, "reader")
        self._writers = ThreadPoolExecutor(settings.writers, "writer")
        stage_settings = StageSettings(
            {stage.name: params for stage, params in stages},
            {stage.name: _hash(stage, params) for stage, params in stages},
        )
        rules = OutputRules(group=settings.group)
        self.recorder = Recorder(
            store, self.graph, stage_settings, subjects, on_event=on_event, rules=rules, clock_s=clock_s
        )
        machinery = Machinery(
            graph=self.graph,
            settings=stage_settings,
            recorder=self.recorder,
            compute=self.compute,
            readers=self._readers,
            writers=self._writers,
            gains=GainCache(),
            budget=self.budget,
            witness=witness,
            rules=rules,
            decode_threads=settings.threads,
        )
        self.scheduler = Scheduler(
            machinery,
            partial(fetch_work, store),
            DiskReserve(settings.home, settings.disk_reserve_bytes).wait_for_room,
            # One movie computed while others are read and written.
            visits_in_flight=1 + settings.readers,
            order=settings.order,
        )

    def close(self) -> None:
        """End the threads, once the scheduler has stopped; what they still had to do stays pending in the store."""
        self.compute.close()
        self._readers.shutdown(cancel_futures=True)
        self._writers.shutdown(cancel_futures=True)


def _hash(stage: AnyStage, params: StageParams) -> str:
    return parameters_hash({"stage": stage.name, "version": stage.version, **params.model_dump(mode="json")})
