"""The daemon: its parts built from the settings, run in one task group."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import structlog

from daemon.app.browsing import Browsing
from daemon.app.closing_reports import ClosingReports
from daemon.app.ending import end_for_certain, mark_orderly_end
from daemon.app.log_book import LogBook
from daemon.app.mounts import Mounts
from daemon.app.ownership import home_claim, own_state, state_claim
from daemon.app.parameters import stage_parameters
from daemon.app.pulse import Pulse
from daemon.app.reception import Reception
from daemon.app.reload import Reload, live_keys
from daemon.app.status_line import pause_words, status_line
from daemon.bus.service import Bus
from daemon.bus.settings import BusSettings
from daemon.bus.signals import SignalChannel
from daemon.config.loader import load_settings
from daemon.config.schema import Settings
from daemon.domain.states import MovieState
from daemon.engine.answers import Answers
from daemon.engine.beat import NodeBeat
from daemon.engine.controls import Controls
from daemon.engine.curation import Curation
from daemon.engine.disks import DiskPlace, Disks
from daemon.engine.engine import Engine, EngineSettings
from daemon.engine.file_answers import FileAnswers
from daemon.engine.housekeeping import Housekeeping
from daemon.engine.inspection import Inspection
from daemon.engine.jobs import JobBulletin
from daemon.engine.kernel_store import KernelStore
from daemon.engine.live import Live
from daemon.engine.recovery import recover
from daemon.engine.session_answers import SessionAnswers
from daemon.engine.viewing import Viewing
from daemon.engine.witness import TaskWitness
from daemon.errors import ConfigurationInvalid, Problem
from daemon.formats.pace import READ_PACE
from daemon.messages import commands
from daemon.messages.subjects import Subjects
from daemon.sessions.raw_files import RawPlaces
from daemon.stages import MOVIE_STAGES
from daemon.store import outbox
from daemon.store.connection import FileOwner
from daemon.store.store import Store
from daemon.watchers.session_watch import selects

log = structlog.get_logger(__name__)

_GIB = 2**30
_READERS_S = 300.0
"""How long a start waits for people who read the store; then the service begins anew."""
_MOST_PLACES = 3
"""Places that cannot be watched that the one line names; `elcano status` has them all."""


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

    def __init__(self, settings: Settings, *, once: bool = False, owner: FileOwner | None = None) -> None:
        """Raises StoreUnavailable, HomeTaken when another daemon owns the state, ConfigurationInvalid.

        owner: the right to the state where the caller has it already, see `own_state`.
        """
        self.settings = settings
        self._once = once
        self._serving = anyio.Event()
        self._proven = anyio.Event()
        """That what computes can be loaded."""
        owner = owner or own_state(settings)
        READ_PACE.limit(settings.limits.read_mib_per_s * 2**20)
        self._kernels = KernelStore(settings.state / "kernels")
        self._kernels.keep()
        metrics = {stage.name: stage.Metrics for stage in MOVIE_STAGES}
        self.claim, self._state_claim = home_claim(settings), state_claim(settings)
        self._state_claim.take()
        self.store = Store.open(
            settings.store_path, metrics=metrics, owner=owner, patience_s=_READERS_S, on_wait=_tell_of_readers
        )
        bus_settings = BusSettings.of(settings.state, settings.bus)
        signals = SignalChannel()
        self.witness = TaskWitness(bus_settings.subjects, signals, {stage.slug: stage.name for stage in MOVIE_STAGES})
        self.engine = self._build_engine(bus_settings.subjects)
        self.engine.recorder.on_set_aside = self._set_aside
        self._pulse = Pulse(self._work_in_hand)
        self.controls = Controls(self.engine)
        self.mounts = Mounts(settings)
        self.log_book = LogBook()
        self.log_book.open()
        self.reports = self._closing_reports()
        self.bus = self._build_bus(bus_settings, signals)
        self.reception = Reception(settings, self.store, self.engine, self.bus, once=once)
        self.engine.recorder.on_look_again = self.reception.look_again
        self.engine.recorder.on_gain_read_again = self.reception.watched.place_anew
        self.controls.closer.look = self.reception.watched.look_through
        self.controls.closer.unseen = self.reception.watched.unseen
        self.housekeeping = Housekeeping(
            self.store,
            self.bus,
            settings.store.snapshot_interval_s,
            settings.lifecycle.idle_close_s,
            self.controls.closer,
            end_marker=settings.lifecycle.end_marker,
        )
        self._reload = Reload(
            settings,
            self.store,
            read=lambda: load_settings(settings.source, stage_parameters(), os.environ),
            apply=live_keys(self.engine, self.housekeeping),
            set_parameters=self.engine.set_parameters,
            take_entries=self.reception.take_entries,
        )

    async def run(self) -> None:
        """Serve until cancelled; with `once`, return when everything there is has been processed."""
        async with anyio.create_task_group() as group:
            group.start_soon(self.bus.run)
            await anyio.to_thread.run_sync(self.claim.take)
            group.start_soon(self.claim.keep)
            group.start_soon(self._state_claim.keep)
            await self.mounts.prove()
            recovered = await recover(self.store, self.engine.scheduler.offer)
            if recovered.put_back:
                log.warning(
                    "picked up after an interruption: what was being computed is computed again",
                    steps=recovered.put_back,
                    movies_in_work=recovered.suspected,
                    movies_that_wait=recovered.offered,
                )
            # What waits is worked on at once, however long the directories of sessions take to answer.
            group.start_soon(self._work)
            await self.reception.open(group)
            group.start_soon(self._judge_anew, self.settings.source or "defaults")
            group.start_soon(self.housekeeping.run)
            group.start_soon(JobBulletin(self.store, self.engine.graph, self.bus).run)
            if self.settings.report.at_close:
                group.start_soon(self.reports.run)
            self._serving.set()
            if self._once:
                await self._wait_until_done()
                group.cancel_scope.cancel()

    async def wait_serving(self) -> None:
        """Return when every session is watched again, what computes is proven, and NATS is there or known not to be."""
        await self._serving.wait()
        await self._proven.wait()
        await self.bus.wait_known()

    async def reload(self, asked_by: str) -> None:
        """Read the configuration again and take over what can change live; what is wrong with it is told."""
        await self._reload.run(asked_by)
        await self._follow_gates(asked_by)

    def summary(self) -> str:
        """Return how things are, in one line."""
        watched = self.reception.open_sessions
        movies: Counter[MovieState] = Counter()
        for session_id in watched:
            movies.update(self.store.count_movies(session_id))
        pauses = self.engine.pauses.standing()
        paused = [pause_words(pause.stage, watched.get(pause.session_id or "", pause.session_id)) for pause in pauses]
        troubles = [trouble.message.rstrip(".") for trouble in self.engine.troubles.lasting()]
        troubles += [trouble.message.rstrip(".") for trouble in self.reception.not_watched[:_MOST_PLACES]]
        bus = self.bus.status()
        if not bus.connected:
            troubles.append(f"without NATS ({(bus.problem or 'not connected yet').rstrip('.')})")
        refused = self.reception.refused_sessions
        troubles += [f"not imported: {', '.join(str(path) for path in refused)}"] if refused else []
        return status_line(movies, paused=paused, troubles=troubles)

    def dead_part(self) -> str | None:
        """Name the thread that has ended though the daemon cannot do without it, or the work that stands still."""
        if not self.engine.compute.is_alive:
            return "the compute thread"
        if not self.store.is_alive:
            return "the thread that writes the database"
        return "all work in hand" if self._pulse.has_stopped else None

    def close(self) -> None:
        """Let go of threads and files. Nothing depends on it: a killed daemon resumes as well."""
        mark_orderly_end(self.store)
        self.log_book.close()
        self.claim.release()
        self.engine.close()
        self.store.close()
        self._state_claim.release()

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
                on_hung=end_for_certain,
            )
        except ValueError as error:
            self.store.close()
            problem = Problem("stages, compute", str(error))
            raise ConfigurationInvalid(str(settings.source or "configuration"), [problem]) from error

    def _build_bus(self, bus_settings: BusSettings, signals: SignalChannel) -> Bus:
        watch = self.settings.watch
        disks = Disks(_disk_places(self.settings))
        answers = Answers(
            self.store,
            self.engine,
            bus_status=lambda: asdict(self.bus.status()),
            watching=self._waiting_movies,
            passed_over=self._passed_over,
            not_imported=self._not_imported,
            not_watched=lambda: self.reception.not_watched,
            foreseen=disks.foreseen,
            paused=self.controls.pausing.standing,
            running=lambda: [asdict(progress) for progress in self.witness.running()],
            selects=lambda session: selects(
                session.acquisition.movie_pattern or watch.pattern,
                leaves_series=watch.leave_tilt_series and session.acquisition.movie_pattern is None,
            ),
            places=RawPlaces(self.settings.allowed_roots, (self.settings.paths.home,)),
        )
        live = Live(self.engine)
        beat = NodeBeat(
            self.store,
            self.engine.graph,
            self.engine.scheduler,
            self.settings.bus.instance,
            self.engine.compute,
            disks=disks,
            live=live,
        )
        return Bus(
            bus_settings,
            outbox=_StoreOutbox(self.store),
            handlers={
                **answers.handlers(),
                **self.controls.handlers(),
                **Inspection(self.engine, why_waiting=self._why_waiting).handlers(),
                **Curation(self.engine).handlers(),
                **live.handlers(),
                **Viewing(self.engine, self.settings.paths.home).handlers(),
                **SessionAnswers(
                    self.engine, not_watched=lambda: self.reception.not_watched, report_of=self.reports.find
                ).handlers(),
                **FileAnswers(self.engine, self.settings.paths.home).handlers(),
                **Browsing(self.settings, self.engine, passed_over=self._passed_over).handlers(),
                **self.reports.handlers(),
                **self.mounts.handlers(),
                **self.log_book.handlers(),
                "session.import": self._import_session,
            },
            look=beat.look,
            signals=signals,
            on_hint=self._take_hint,
        )

    def _closing_reports(self) -> ClosingReports:
        output = self.settings.output
        limits = self.engine.gatekeeper.limits
        return ClosingReports(self.store, limits, umask=output.umask_bits, group=output.group)

    async def _work(self) -> None:
        """Process until cancelled. Raises what ends the daemon at its start: ComputeUnavailable, ConfigurationInvalid.

        No attempt begins before the proof: a library that cannot be loaded, or kills who loads it, costs no movie.
        """
        await self.engine.prove_compute(self._kernels)
        self._proven.set()
        await self.engine.scheduler.run()

    async def _judge_anew(self, asked_by: object) -> None:
        """Take over what was said and done since the store was told last; then judge by it and by the gates."""
        await self.controls.marking.take_up()
        await self._follow_gates(asked_by)

    async def _follow_gates(self, asked_by: object) -> None:
        limits = self._reload.settings.gates.limits
        await self.controls.tuning.follow_configuration(limits, asked_by=f"the configuration ({asked_by})")

    def _work_in_hand(self) -> object:
        """How far the work is; None while nothing is in hand, or what holds it up is told."""
        statistics = self.engine.scheduler.statistics()
        if statistics.in_flight == 0 or self.engine.troubles.lasting():
            return None
        return statistics.visited, statistics.in_flight, self.witness.running()

    # The parts below know each other only through these: they are built one after the other.

    def _tell(self) -> None:
        self.bus.publisher.wake()

    def _set_aside(self, session_id: str, movie: Path) -> None:
        self.reception.take_set_aside(session_id, movie)

    def _waiting_movies(self) -> list[dict[str, Any]]:
        return self.reception.watched.waiting_movies()

    def _why_waiting(self, session_id: str) -> dict[Path, str]:
        return self.reception.watched.why_waiting(session_id)

    def _passed_over(self) -> list[str]:
        return self.reception.passed_over_folders()

    def _not_imported(self) -> list[dict[str, str]]:
        refused = self.reception.refused_sessions
        return [{"directory": str(directory), "reason": why} for directory, why in refused.items()]

    async def _import_session(self, command: commands.SessionImport, asked_by: str) -> dict[str, Any]:
        return await self.reception.import_by_command(command, asked_by)

    def _take_hint(self, path: Path) -> None:
        self.reception.take_hint(path)

    async def _wait_until_done(self) -> None:
        """Return when all sessions were looked for, all movies judged, all tasks done and all events told."""
        await self._proven.wait()
        await self.reception.wait_looked()
        while not (self.engine.scheduler.is_idle and self.reception.is_settled):
            with anyio.move_on_after(0.2):
                await self.engine.scheduler.wait_for_change()
        await self.housekeeping.write_snapshots()
        # What is not told now, the next daemon tells: without NATS nobody needs to wait for long.
        with anyio.move_on_after(10 if self.bus.status().connected else 2):
            await self.bus.publisher.wait_drained()


def _disk_places(settings: Settings) -> list[DiskPlace]:
    reserve_bytes = int(settings.limits.disk_reserve_gib * _GIB)
    home = DiskPlace("home", settings.paths.home, reserve_bytes)
    return [home, DiskPlace("state", settings.state), *(DiskPlace("raw", root) for root in settings.watched_roots)]


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
        gates=settings.gates.limits,
    )


def _tell_of_readers() -> None:
    log.warning("waiting for a query, report or audit that reads the database and began while no daemon ran")
