"""The live part of watching: poll, announce, look until each movie is judged, tell the sink.

Two loops that never wait for each other: one scans the directory, one looks at candidates. Every call that touches
the file system runs detached, so that a file or mount that does not answer delays only itself.
"""

import os
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio
from anyio.abc import TaskGroup

from daemon.domain.movie import FileIdentity
from daemon.formats.detached import DetachedCall
from daemon.formats.structure import inspect_structure
from daemon.sessions.series_names import TILT_SERIES
from daemon.watchers.agenda import Agenda, Candidate
from daemon.watchers.directory import DirectoryPoller
from daemon.watchers.found import FoundFile, IgnoredFile, PollResult, RefusedMovie, SettledMovie, WatchProblem
from daemon.watchers.hints import KernelHints, listen_where_local
from daemon.watchers.look import Inspect, look_at
from daemon.watchers.problems import no_answer
from daemon.watchers.settle import Complete, Ignore, Observation, Quarantine, SettleRule, Verdict, Wait, remember
from daemon.watchers.sidecars import TiltNotes
from daemon.watchers.sink import MovieSink
from daemon.watchers.unreadable import Unreadable
from daemon.watchers.wake import Wake

_LONGEST_IDLE_S = 1.0
_LONGEST_STOP_S = 5.0
_LONG_WRITTEN_S = 600.0
_LATE_SHARE = 0.01
"""By how much of the time that a file took to be written its end may be noticed late."""


@dataclass(frozen=True)
class WatchSettings:
    """How often to look, and how much at once.

    The directory is polled every `poll_min_s` while anything is going on and for `active_for_s` after, then ever less
    often up to `poll_max_s`. A look that takes longer than `look_timeout_s` is left behind; with `most_hung` of them
    nothing more is opened until one returns.
    """

    poll_min_s: float = 1.0
    poll_max_s: float = 5.0
    active_for_s: float = 60.0
    hint_gap_s: float = 0.5
    slow_poll_s: float = 30.0
    look_threads: int = 4
    look_timeout_s: float = 5.0
    looks_at_once: int = 64
    most_hung: int = 16
    batch_files: int = 500
    kernel_hints: bool = True


@dataclass(frozen=True)
class WaitingMovie:
    """A movie that is not judged yet, and why."""

    path: Path
    reason: str
    silent_for_s: float


class Discoverer:
    """Watches the raw directory of one session and proves its movies complete."""

    def __init__(
        self,
        poller: DirectoryPoller,
        sink: MovieSink,
        *,
        expected_frames: Callable[[Path], int | None],
        rule: SettleRule | None = None,
        settings: WatchSettings | None = None,
        clock: Callable[[], float] = time.monotonic,
        inspect: Inspect = inspect_structure,
        tilts: TiltNotes | None = None,
        unreadable: Unreadable | None = None,
    ) -> None:
        """Join the parts. `expected_frames` gives the frame count a movie should have, None while nobody knows."""
        self._tilts = tilts or TiltNotes(poller.root)
        self._unreadable = unreadable or Unreadable()
        self._poller = poller
        self._sink = sink
        self._expected_frames = expected_frames
        self._rule = rule or SettleRule()
        self._settings = settings or WatchSettings()
        self._clock = clock
        self._inspect = inspect
        self._agenda = Agenda()
        self._in_flight = 0
        self._hung: list[DetachedCall[Observation | None]] = []
        self._troubled: set[Path] = set()
        self._problems: dict[Path, str] = {}
        self.unseen: dict[Path, str] = {}
        """Places that the last poll could not look at, and why: what lies there is not known."""
        self._limiter = anyio.CapacityLimiter(self._settings.look_threads)
        self._judged: list[FileIdentity] = []
        self._suspects: list[Path] = []
        self._asked_through: list[anyio.Event] = []
        self._hints: KernelHints | None = None
        self._scan_wake, self._look_wake = Wake(), Wake()
        self._unverified = 0
        self._scans = 0
        self._last_news_s = clock()
        for identity in poller.unsettled:
            self._add(FoundFile(identity, clock()))

    async def run(self) -> None:
        """Watch until cancelled. An error of the sink ends it: what cannot be recorded must not be lost."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._look_forever, group)
            if self._settings.kernel_hints:
                group.start_soon(self._listen_forever)
            await self._scan_forever()

    def hint(self, path: Path) -> bool:
        """Take someone's word that a path may be worth a look; False when it is not under this directory."""
        plain = Path(os.path.normpath(path))
        if not plain.is_relative_to(self._poller.root):
            return False
        self._suspects.append(plain)
        self._scan_wake.set()
        return True

    def look_through(self) -> anyio.Event:
        """Have every directory listed anew; the event is set when the sink has taken what that found."""
        looked = anyio.Event()
        self._asked_through.append(looked)
        self._scan_wake.set()
        return looked

    def reconsider(self, identity: FileIdentity) -> None:
        """Judge a movie again, as if it had just been seen: its bytes could not be decoded after all."""
        self._add(FoundFile(identity, self._clock()))

    def waiting(self) -> list[WaitingMovie]:
        """Return the movies that are not judged yet, and why."""
        now_s = self._clock()
        return [
            WaitingMovie(candidate.path, candidate.reason, now_s - candidate.history.unchanged_since_s)
            for candidate in self._agenda
        ]

    @property
    def problems(self) -> dict[Path, str]:
        """What keeps places in the directory from being watched, and why, as of the last poll."""
        return dict(self._problems)

    @property
    def is_settled(self) -> bool:
        """Whether the directory has been scanned and everything found so far is judged and told."""
        return self._scans > 0 and not (self._unverified or len(self._agenda) or self._in_flight)

    async def scan(self) -> None:
        """Poll the directory once and tell the sink what it found."""
        judged, self._judged = self._judged, []
        suspects, self._suspects = self._suspects, []
        asked, self._asked_through = self._asked_through, []
        call = DetachedCall(partial(self._poll, judged, suspects, everything=bool(asked)))
        limit_s, root = self._settings.slow_poll_s, self._poller.root
        if not await call.wait(limit_s):
            await self._sink.troubled([WatchProblem(root, *no_answer(limit_s))])
            # A poll cannot be taken back: another one would only hang beside it.
            await call.wait(float("inf"))
            await self._sink.recovered([root])
        await self._take(call.result())
        await self._tell_silent_notes()
        self._scans += 1
        for looked in asked:
            looked.set()

    def start_looks(self, group: TaskGroup) -> int:
        """Start every look that is due, as far as the limits allow; return how many were started."""
        now_s, started = self._clock(), 0
        self._hung = [call for call in self._hung if not call.is_finished]
        while self._in_flight < self._settings.looks_at_once:
            candidate = self._agenda.take_due(now_s)
            if candidate is None:
                break
            late = candidate.late
            if late is None and len(self._hung) < self._settings.most_hung:
                work: Callable[[], Awaitable[None]] = partial(self._look, candidate)
            elif late is not None and late.is_finished:
                work = partial(self._conclude, candidate, late)
            else:
                self._schedule(candidate, self._rule.look_every_s)
                continue
            self._in_flight += 1
            group.start_soon(self._count_down_after, work)
            started += 1
        return started

    async def _scan_forever(self) -> None:
        interval_s = self._settings.poll_min_s
        while True:
            await self.scan()
            is_active = len(self._agenda) > 0 or self._clock() - self._last_news_s < self._settings.active_for_s
            slower_s = min(interval_s * 1.5, self._settings.poll_max_s)
            interval_s = self._settings.poll_min_s if is_active else slower_s
            # A burst of hints costs no more than one poll each gap.
            await anyio.sleep(min(self._settings.hint_gap_s, interval_s))
            await self._scan_wake.wait(max(interval_s - self._settings.hint_gap_s, 0.0))

    async def _look_forever(self, group: TaskGroup) -> None:
        while True:
            self.start_looks(group)
            is_full = self._in_flight >= self._settings.looks_at_once
            pause_s = _LONGEST_IDLE_S if is_full else self._agenda.seconds_to_next(self._clock())
            await self._look_wake.wait(min(pause_s, _LONGEST_IDLE_S))

    def _poll(self, judged: Sequence[FileIdentity], suspects: Sequence[Path], *, everything: bool) -> PollResult:
        now_s = self._clock()
        self._poller.rebase(judged, now_s)
        for path in suspects:
            self._poller.suspect(path)
        for name in self._hints.take_names() if self._hints is not None else ():
            self._poller.name(name)
        return self._unreadable.add_readable(self._poller.poll(now_s, everything=everything), now_s)

    async def _take(self, result: PollResult) -> None:
        self._unverified, self.unseen = result.unverified, result.unseen
        if result.has_news:
            self._last_news_s = self._clock()
        await self._take_losses(result)
        size = self._settings.batch_files
        for start in range(0, len(result.new), size):
            batch = result.new[start : start + size]
            await self._sink.seen(batch)
            for found in batch:
                self._add(found)
        await self._give_up_series(result.series)
        for start in range(0, len(result.other), size):
            await self._sink.ignored(result.other[start : start + size])
        if result.tallied:
            await self._sink.tallied(result.tallied)
        for path in result.recovered:
            self._problems.pop(path, None)
        self._problems |= {problem.path: problem.what for problem in result.problems}
        if result.problems:
            await self._sink.troubled(result.problems)
        if result.recovered:
            await self._sink.recovered(result.recovered)

    async def _give_up_series(self, members: Sequence[Path]) -> None:
        """Leave alone what shows itself to be of a tilt series; what was judged before that stays as it was judged."""
        waiting = {candidate.path: candidate for candidate in self._agenda}
        given_up = [waiting[path] for path in members if path in waiting]
        for candidate in given_up:
            self._agenda.remove(candidate.path)
        if given_up:
            await self._sink.ignored([IgnoredFile(candidate.identity, TILT_SERIES) for candidate in given_up])

    async def _tell_silent_notes(self) -> None:
        silent, answering = self._tilts.take_news()
        if silent:
            await self._sink.troubled(silent)
        if answering:
            await self._sink.recovered(answering)

    async def _take_losses(self, result: PollResult) -> None:
        if result.vanished:
            for identity in result.vanished:
                self._agenda.remove(identity.path)
            await self._sink.vanished(result.vanished)
            over = [identity.path for identity in result.vanished if identity.path in self._troubled]
            if over:
                self._troubled.difference_update(over)
                await self._sink.recovered(over)
        # A candidate that changes is being written, which its own looks see.
        changed = [change for change in result.rewrites(self._judged) if change.now.path not in self._agenda]
        if changed:
            await self._sink.rewritten(changed)
            for change in changed:
                self._add(change.now)

    def _add(self, found: FoundFile) -> None:
        delay_s = 0.0 if found.renamed_into_place else self._rule.look_every_s
        self._agenda.add(found, self._clock() + delay_s)
        self._look_wake.set()

    def _schedule(self, candidate: Candidate, after_s: float) -> None:
        self._agenda.schedule(candidate, self._clock() + after_s)

    async def _count_down_after(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        finally:
            self._in_flight -= 1
            self._look_wake.set()

    async def _look(self, candidate: Candidate) -> None:
        async with self._limiter:
            call = DetachedCall(
                partial(
                    look_at,
                    candidate.path,
                    candidate.history,
                    rule=self._rule,
                    renamed_into_place=candidate.renamed_into_place,
                    clock=self._clock,
                    inspect=self._inspect,
                )
            )
            answered = await call.wait(self._settings.look_timeout_s)
        if answered:
            await self._conclude(candidate, call)
            return
        candidate.late = call
        candidate.reason = f"reading it has not returned for {self._settings.look_timeout_s:.0f} s"
        self._hung.append(call)
        self._troubled.add(candidate.path)
        self._schedule(candidate, self._rule.look_every_s)
        await self._sink.troubled([WatchProblem(candidate.path, candidate.reason, is_passing=True)])

    async def _conclude(self, candidate: Candidate, call: DetachedCall[Observation | None]) -> None:
        candidate.late = None
        if candidate.path in self._troubled:
            self._troubled.discard(candidate.path)
            await self._sink.recovered([candidate.path])
        if not self._agenda.holds(candidate):
            return
        observation = call.result()
        if observation is None:
            # Only the poller declares a file gone: it can tell a deletion from a mount that went away.
            candidate.reason = "not there any more"
            self._suspects.append(candidate.path)
            self._schedule(candidate, self._settings.poll_max_s)
            return
        candidate.history = remember(candidate.history, observation)
        verdict = self._rule.judge(
            candidate.history,
            expected_frames=self._expected_frames(candidate.path),
            renamed_into_place=candidate.renamed_into_place,
        )
        if isinstance(verdict, Wait):
            self._wait(candidate, verdict)
        else:
            await self._tell(candidate, observation, verdict)

    def _wait(self, candidate: Candidate, verdict: Wait) -> None:
        """Look again, ever less often at a file that is written for ever; that it is, is said."""
        written_for_s = candidate.history.unchanged_since_s - candidate.met_at_s
        candidate.reason = verdict.reason
        if written_for_s > _LONG_WRITTEN_S:
            candidate.reason += f", after {written_for_s / 60:.0f} min of writing"
        rarely_s = min(written_for_s * _LATE_SHARE, self._rule.slowest_look_s)
        self._schedule(candidate, max(verdict.look_again_after_s, rarely_s))

    async def _tell(self, candidate: Candidate, observation: Observation, verdict: Verdict) -> None:
        identity = FileIdentity(candidate.path, observation.size_bytes, observation.mtime_ns)
        self._agenda.remove(candidate.path)
        self._judged.append(identity)
        self._unreadable.note(identity, observation.problem)
        self._last_news_s = self._clock()
        if isinstance(verdict, Quarantine):
            await self._sink.quarantined(RefusedMovie(identity, verdict.reason))
        elif isinstance(verdict, Ignore):
            await self._sink.ignored([IgnoredFile(identity, verdict.reason)])
        elif isinstance(verdict, Complete) and (others := await self._tilts.find_series(candidate.path)) is not None:
            await self._give_up_series(others)
            await self._sink.ignored([IgnoredFile(identity, TILT_SERIES)])
        elif isinstance(verdict, Complete):
            assert observation.structure is not None  # the rule completes only what this look has opened
            silent_s = candidate.history.silent_for_s
            await self._sink.complete(SettledMovie(identity, observation.structure, silent_s, verdict.reason))

    async def _listen_forever(self) -> None:
        """Listen to the kernel where it hears every writer; elsewhere watching works the same, only later."""
        call = DetachedCall(partial(listen_where_local, self._poller.root, self._scan_wake.set))
        await call.wait(float("inf"))
        try:
            hints = call.result()
        except OSError as error:
            what = f"the kernel tells nothing of new files ({error.strerror or error}): it is asked every few seconds"
            await self._sink.troubled([WatchProblem(self._poller.root, what, is_passing=True)])
            return
        if hints is None:
            return
        self._hints = hints
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await DetachedCall(hints.stop).wait(_LONGEST_STOP_S)
