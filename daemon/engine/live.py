"""Whether the daemon keeps up: rates and times from the store and from where the work is done."""

import time
from collections.abc import Callable, Mapping

import anyio

from daemon.domain.states import MovieState
from daemon.engine.answers import Handler
from daemon.engine.engine import Engine
from daemon.engine.outlook import Hold, Load, foresee
from daemon.engine.pace import READING, WRITING
from daemon.engine.space import TROUBLE as DISK_FULL
from daemon.messages.live import LatencyWindow, LiveAnswer, LiveQuery, Outlook, StepPace, WatcherLag
from daemon.store import sessions
from daemon.store.pace import Arrivals, Flow, count_arrivals, count_flow, measure_lag, measure_waits

_BUCKETS = 60
_LATENCY_WINDOWS_S = (900.0, 3600.0, 86_400.0)
_RATES_OVER_S = 900.0
"""Arrivals and ends by which it is judged whether the daemon keeps up."""
_SHORTEST_S = 60.0
"""No rate is taken over less."""
_FRESH_S = 2.0
"""Several terminals that ask at once get one answer."""
_LATENCY_STAGE = "ctf_estimation"


class Live:
    """Handlers by name, as the responder wants them; they change nothing."""

    def __init__(self, engine: Engine, *, clock_s: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._store = engine.store
        self._clock_s = clock_s
        self._began_s = clock_s()
        self._was_behind = False
        self._answers: dict[float, LiveAnswer] = {}
        self._asking = anyio.Lock()

    def handlers(self) -> Mapping[str, Handler]:
        """Return every handler this class has."""
        return {"live": self.live}

    async def live(self, query: LiveQuery, asked_by: str) -> LiveAnswer:
        """How the daemon keeps up."""
        del asked_by
        async with self._asking:
            known = self._answers.get(query.window_s)
            if known is None or not 0 <= self._clock_s() - known.at_s < _FRESH_S:
                self._answers = {query.window_s: await self._look(query.window_s)}
            return self._answers[query.window_s]

    async def outlook(self) -> Outlook:
        """Whether it keeps up, and what limits it; costs little."""
        now_s = self._clock_s()
        # A daemon that has just begun ended nothing while it was not there, and saw nothing come.
        since_s = max(now_s - _RATES_OVER_S, self._began_s)
        flow = await count_flow(self._store, now_s - _RATES_OVER_S, _RATES_OVER_S, 1)
        arrived = await count_arrivals(self._store, now_s - _RATES_OVER_S, self._began_s)
        # Nor could anything end before there was a movie.
        worked_s = now_s - max(since_s, since_s if arrived.work_since_s is None else arrived.work_since_s)
        statistics = self._engine.scheduler.statistics()
        load = Load(
            arriving_per_hour=_arriving_per_hour(arrived, now_s, now_s - since_s),
            processed_per_hour=3600 * (flow.done[0] + flow.failed[0]) / max(_SHORTEST_S, worked_s),
            backlog=await self._count(MovieState.COMPLETE),
            in_flight=statistics.in_flight,
        )
        pace = self._engine.pace
        told = foresee(load, pace.parts(), self._lanes(), pace.window_s(), self._hold(), was_behind=self._was_behind)
        self._was_behind = told.is_behind
        return told

    def compute_busy_s(self) -> float:
        """Seconds that the steps have computed, ever, up to now."""
        return self._engine.pace.total_s(leave_out=tuple(self._lanes()))

    async def _look(self, window_s: float) -> LiveAnswer:
        now_s = self._clock_s()
        bucket_s = window_s / _BUCKETS
        flow: Flow = await count_flow(self._store, now_s - window_s, bucket_s, _BUCKETS)
        waits = await measure_waits(self._store, _LATENCY_STAGE, tuple(now_s - span_s for span_s in _LATENCY_WINDOWS_S))
        lag = await measure_lag(self._store, now_s - window_s)
        return LiveAnswer(
            at_s=now_s,
            window_s=window_s,
            bucket_s=bucket_s,
            seen=list(flow.seen),
            processed=list(flow.done),
            failed=list(flow.failed),
            latency=[
                LatencyWindow(
                    window_s=span_s,
                    count=wait.count,
                    p50_s=wait.quantiles_s[0],
                    p95_s=wait.quantiles_s[1],
                    p99_s=wait.quantiles_s[2],
                )
                for span_s, wait in zip(_LATENCY_WINDOWS_S, waits, strict=True)
            ],
            watcher=WatcherLag(
                count=lag.count,
                seen_p50_s=lag.seen_s[0],
                seen_p95_s=lag.seen_s[1],
                proven_p50_s=lag.proven_s[0],
                proven_p95_s=lag.proven_s[1],
            ),
            unproven=await self._count(MovieState.SEEN, MovieState.SETTLING),
            steps=self._steps(),
            outlook=await self.outlook(),
        )

    def _steps(self) -> list[StepPace]:
        pace, lanes = self._engine.pace, self._lanes()
        order = {name: number for number, name in enumerate((READING, *self._engine.graph.names, WRITING))}
        window_s = pace.window_s()
        return [
            StepPace(
                name=part.name,
                count=part.count,
                seconds_per_movie=part.mean_s,
                usual_s=part.usual_s,
                busy_percent=100 * part.busy_s / (window_s * lanes.get(part.name, 1)),
            )
            for part in sorted(pace.parts(), key=lambda part: order.get(part.name, len(order)))
        ]

    def _lanes(self) -> dict[str, int]:
        return {READING: self._engine.readers.size, WRITING: self._engine.writers.size}

    def _hold(self) -> Hold | None:
        """Return what keeps every movie from being begun."""
        pause = self._engine.pauses.node
        if pause is not None:
            return Hold("pause", f"the node is paused by {pause.asked_by}")
        for trouble in self._engine.troubles.lasting():
            if trouble.kind == DISK_FULL:
                return Hold("disk", trouble.message.rstrip("."))
        return None

    async def _count(self, *states: MovieState) -> int:
        ids = [row.session.session_id for row in await sessions.sessions(self._store)]
        return sum(self._store.count_movies(one).get(state, 0) for one in ids for state in states)


def _arriving_per_hour(arrived: Arrivals, now_s: float, watched_s: float) -> float:
    """Return how fast movies come: a session that has just begun is not spread over the time before its first movie,
    from which on only the gaps between movies are counted."""
    over_all = arrived.count / max(_SHORTEST_S, watched_s)
    since_first_s = 0.0 if arrived.first_s is None else now_s - arrived.first_s
    return 3600 * max(over_all, max(0, arrived.count - 1) / max(_SHORTEST_S, since_first_s))
