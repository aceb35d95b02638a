"""The daemon: its parts built from the settings, run in one task group."""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import anyio
import structlog

from daemon.app.reception import Reception
from daemon.bus.service import Bus
from daemon.bus.settings import BusSettings
from daemon.bus.signals import SignalChannel
from daemon.config.schema import Settings
from daemon.engine.answers import Answers
from daemon.engine.beat import NodeBeat
from daemon.engine.engine import Engine, EngineSettings
from daemon.engine.housekeeping import Housekeeping
from daemon.engine.jobs import JobBulletin
from daemon.engine.recovery import recover
from daemon.engine.witness import TaskWitness
from daemon.errors import ConfigurationInvalid, Problem
from daemon.messages import commands
from daemon.messages.subjects import Subjects
from daemon.stages import MOVIE_STAGES
from daemon.store import outbox
from daemon.store.store import Store
from daemon.watchers.session_watch import selects

log = structlog.get_logger(__name__)

_GIB = 2**30


@dataclass(frozen=True)
class _StoreOutbox:
    """The outbox as the publisher wants it."""

    store: Store

    async def unpublished(self, limit: int) -> Sequence[Any]:
        return await outbox.unpublished(self.store, limit)

    async def mark_published(self, seqs: Sequence[int]) -> None:
        await outbox.mark_published(self.store, seqs)


class Daemon:
    """All parts of one running daemon. Make it, `run` it, `close` it."""

    def __init__(self, settings: Settings, *, once: bool = False) -> None:
        """Raises StoreUnavailable when another daemon owns the state, ConfigurationInvalid for what cannot be built."""
        self.settings = settings
        self._once = once
        os.umask(settings.output.umask_bits)
        settings.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.store = Store.open(settings.store_path, metrics={stage.name: stage.Metrics for stage in MOVIE_STAGES})
        bus_settings = BusSettings.of(settings.state, settings.bus)
        signals = SignalChannel()
        self.witness = TaskWitness(bus_settings.subjects, signals)
        self.engine = self._build_engine(bus_settings.subjects)
        self.bus = self._build_bus(bus_settings, signals)
        self.reception = Reception(settings, self.store, self.engine, self.bus, once=once)
        self.housekeeping = Housekeeping(
            self.store, self.bus, settings.store.snapshot_interval_s, settings.lifecycle.idle_close_s
        )

    async def run(self) -> None:
        """Serve until cancelled; with `once`, return when everything there is has been processed."""
        async with anyio.create_task_group() as group:
            group.start_soon(self.bus.run)
            recovered = await recover(self.store, self.engine.scheduler.offer)
            if recovered.put_back or recovered.given_up:
                log.warning("picked up after an interruption", **asdict(recovered))
            await self.reception.open(group)
            group.start_soon(self.engine.scheduler.run)
            group.start_soon(self.housekeeping.run)
            group.start_soon(JobBulletin(self.store, self.engine.graph, self.bus).run)
            if self._once:
                await self._wait_until_done()
                group.cancel_scope.cancel()

    def close(self) -> None:
        """Let go of threads and files. Nothing depends on it: a killed daemon resumes as well."""
        self.engine.close()
        self.store.close()

    def _build_engine(self, subjects: Subjects) -> Engine:
        settings = self.settings
        try:
            return Engine(
                self.store,
                [
                    (stage, stage.Params.model_validate(settings.stages[stage.name].params.model_dump()))
                    for stage in MOVIE_STAGES
                    if settings.stages[stage.name].enabled
                ],
                _engine_settings(settings),
                subjects,
                self.witness,
                on_event=self._tell,
            )
        except ValueError as error:
            self.store.close()
            problem = Problem("stages, compute", str(error))
            raise ConfigurationInvalid(str(settings.source or "configuration"), [problem]) from error

    def _build_bus(self, bus_settings: BusSettings, signals: SignalChannel) -> Bus:
        pattern = self.settings.watch.pattern
        answers = Answers(
            self.store,
            self.engine,
            bus_status=lambda: asdict(self.bus.status()),
            watching=self._waiting_movies,
            running=lambda: [asdict(progress) for progress in self.witness.running()],
            selects=lambda session: selects(session.acquisition.movie_pattern or pattern),
        )
        beat = NodeBeat(
            self.store, self.engine.graph, self.engine.scheduler, self.settings.bus.instance, self.engine.compute.device
        )
        return Bus(
            bus_settings,
            outbox=_StoreOutbox(self.store),
            handlers={
                **answers.handlers(),
                "session.import": self._import_session,
            },
            look=beat.look,
            signals=signals,
            on_hint=self._take_hint,
        )

    # The parts below know each other only through these: they are built one after the other.

    def _tell(self) -> None:
        self.bus.publisher.wake()

    def _waiting_movies(self) -> list[dict[str, Any]]:
        return self.reception.waiting_movies()

    async def _import_session(self, command: commands.SessionImport, asked_by: str) -> dict[str, Any]:
        return await self.reception.import_by_command(command, asked_by)

    def _take_hint(self, path: Path) -> None:
        self.reception.take_hint(path)

    async def _wait_until_done(self) -> None:
        """Return when all sessions were looked for, all movies judged, all tasks done and all events told."""
        await self.reception.wait_looked()
        while not (self.engine.scheduler.is_idle and self.reception.is_settled):
            with anyio.move_on_after(0.2):
                await self.engine.scheduler.wait_for_change()
        await self.housekeeping.write_snapshots()
        # What is not told now, the next daemon tells: without NATS nobody needs to wait for long.
        with anyio.move_on_after(10 if self.bus.status().connected else 2):
            await self.bus.publisher.wait_drained()


def _engine_settings(settings: Settings) -> EngineSettings:
    compute = settings.compute
    return EngineSettings(
        home=settings.paths.home,
        device=compute.device,
        threads=compute.thread_count(),
        byte_budget_bytes=int(compute.byte_budget_gib * _GIB),
        readers=compute.readers,
        writers=compute.writers,
        order=settings.watch.order,
        group=settings.output.group,
        disk_reserve_bytes=int(settings.limits.disk_reserve_gib * _GIB),
    )
