"""How jobs stand, derived from their tasks: for queries, for the bus's summaries, and told when one is over."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import anyio

from daemon.bus.service import Bus
from daemon.domain.states import JobState, SessionState, TaskState, job_state
from daemon.messages import events
from daemon.messages.envelope import utc
from daemon.messages.event_data import JobSummary
from daemon.messages.events import JobRef
from daemon.pipeline.graph import StageGraph
from daemon.store import sessions
from daemon.store.changes import Change, PutDecision, QueueEvent
from daemon.store.left_tasks import StageCounts
from daemon.store.pace import count_done
from daemon.store.rows import JobRow, SessionRow
from daemon.store.session_tree import read_titles
from daemon.store.store import Store

_MINUTES = 11
"""How far back a summary tells what was processed: ten whole minutes, and the one that is not over."""


@dataclass(frozen=True)
class JobView:
    """One job as people see it: `steps` counts its tasks by stage and state, in stage order.

    Tasks of movies that were left alone (superseded, vanished, ignored) are not among them: `left_alone` counts those.
    """

    job_id: str
    kind: str
    session: str
    session_id: str
    state: JobState
    created_at_s: float
    steps: dict[str, dict[str, int]]
    left_alone: int = 0
    session_state: SessionState = SessionState.OPEN
    cancelled_by: str | None = None
    completed_by: str | None = None
    title: str = ""


async def view_jobs(store: Store, graph: StageGraph, session_id: str | None = None) -> list[JobView]:
    """Return jobs with their counts, newest first."""
    rows = {row.session.session_id: row for row in await sessions.sessions(store)}
    # Jobs are read after sessions: one that was imported in between is seen next time.
    jobs = [job for job in reversed(await sessions.jobs(store, session_id)) if job.session_id in rows]
    # Before all are counted: what is left alone stays so, and no number below can become less than nothing.
    left = await store.count_left_tasks({job.session_id for job in jobs})
    # All at once: a call for each of many jobs would look through the counts of all of them each time.
    counted: dict[str, dict[str, Mapping[TaskState, int]]] = {}
    for (job_id, stage), counts in store.count_tasks().items():
        counted.setdefault(job_id, {})[stage] = counts
    titles = await read_titles(store)
    return [
        _view(
            graph,
            job,
            rows[job.session_id],
            counted.get(job.job_id, {}),
            left.get(job.job_id, {}),
            titles.get(job.session_id, ("", ""))[0],
        )
        for job in jobs
    ]


def _view(
    graph: StageGraph,
    job: JobRow,
    row: SessionRow,
    counted: Mapping[str, Mapping[TaskState, int]],
    left: StageCounts,
    title: str,
) -> JobView:
    steps: dict[str, dict[str, int]] = {}
    total: Counter[TaskState] = Counter()
    for stage, counts in counted.items():
        standing = Counter(counts) - left.get(stage, Counter())
        steps[stage] = {str(state): count for state, count in standing.items()}
        total += standing
    derived = job_state(
        total,
        session_is_open=row.session.state is SessionState.OPEN,
        cancelled=job.cancelled_by is not None,
        marked_completed=job.completed_by is not None,
    )
    ordered = {name: steps[name] for name in graph.names if name in steps}
    left_alone = sum(count.total() for count in left.values())
    return JobView(
        job_id=job.job_id,
        kind=job.kind,
        session=row.session.name,
        session_id=job.session_id,
        state=derived,
        created_at_s=job.created_at_s,
        steps=ordered,
        left_alone=left_alone,
        session_state=row.session.state,
        cancelled_by=job.cancelled_by,
        completed_by=job.completed_by,
        title=title,
    )


class JobBulletin:
    """Keeps the bus told how jobs stand; a job that is over is told once, durably."""

    def __init__(
        self,
        store: Store,
        graph: StageGraph,
        bus: Bus,
        *,
        interval_s: float = 1.0,
        clock_s: Callable[[], float] = time.time,
    ) -> None:
        self._clock_s = clock_s
        self._store = store
        self._graph = graph
        self._bus = bus
        self._interval_s = interval_s
        self._told: dict[str, bool] = {}
        self._progress: dict[str, dict[str, int]] = {}
        self._seen = -1

    async def run(self) -> None:
        """Look whenever the store has changed, until cancelled."""
        while True:
            await self.look()
            await anyio.sleep(self._interval_s)

    async def look(self) -> None:
        """Tell how jobs stand, if the store has changed since the last look."""
        if self._store.transactions == self._seen:
            return
        self._seen = self._store.transactions
        now_s = self._clock_s()
        processed = await count_done(self._store, int(now_s // 60), _MINUTES)
        for view in await view_jobs(self._store, self._graph):
            await self._tell(view, processed.get(view.session_id, [0] * _MINUTES), now_s)

    async def _tell(self, view: JobView, processed: list[int], now_s: float) -> None:
        self._bus.summaries.put(
            JobSummary(
                job_id=view.job_id,
                session_id=view.session_id,
                session=view.session,
                kind=view.kind,
                state=str(view.state),
                steps=view.steps,
                updated_at=utc(now_s),
                created_at=utc(view.created_at_s),
                session_state=str(view.session_state),
                title=view.title,
                cancelled_by=view.cancelled_by,
                completed_by=view.completed_by,
                processed_lately=processed,
            )
        )
        self._tell_progress(view, now_s)
        key = f"job_completed_told:{view.job_id}"
        if view.job_id not in self._told:
            self._told[view.job_id] = (await sessions.decisions(self._store, view.session_id)).get(key) is True
        is_over = view.state is JobState.COMPLETED
        if is_over is self._told[view.job_id]:
            return
        changes: list[Change] = [PutDecision(view.session_id, key, is_over)]
        if is_over:
            changes.append(self._completed(view, now_s))
        await self._store.commit(*changes)
        self._told[view.job_id] = is_over
        self._bus.publisher.wake()

    def _tell_progress(self, view: JobView, now_s: float) -> None:
        """Say how far a job is, best effort, whenever that has changed."""
        tasks = _count_states(view)
        if not tasks or tasks == self._progress.get(view.job_id):
            return
        self._progress[view.job_id] = tasks
        done = sum(count for state, count in tasks.items() if TaskState(state).is_terminal)
        percent = 100 * done / sum(tasks.values())
        event = events.job_progress(self._bus.subjects, _ref(view), tasks=tasks, percent=percent, at_s=now_s)
        self._bus.signals.offer(event, key=f"job {view.job_id}")

    def _completed(self, view: JobView, now_s: float) -> QueueEvent:
        event = events.job_completed(self._bus.subjects, _ref(view), tasks=_count_states(view), at_s=now_s)
        return QueueEvent(event.id, event.subject, event.body(), stream=self._bus.subjects.session_stream)


def _ref(view: JobView) -> JobRef:
    return JobRef(view.job_id, view.session_id, view.session, view.kind)


def _count_states(view: JobView) -> dict[str, int]:
    tasks: dict[str, int] = {}
    for counts in view.steps.values():
        for state, count in counts.items():
            tasks[state] = tasks.get(state, 0) + count
    return tasks
