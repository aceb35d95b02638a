"""Results that are taken back, and what the gates say of those that stand."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from daemon.domain.identity import stable_id
from daemon.domain.states import DID_NOT_SUCCEED, TaskState
from daemon.store.changes import DropResults, PutMetrics, PutVerdict
from daemon.store.connection import Connection
from daemon.store.marks import Mark, read_marks
from daemon.store.metric_tables import read_tables, table_name
from daemon.store.metrics import put_metrics
from daemon.store.plan import Plan
from daemon.store.reading import Reads
from daemon.store.views import SET_ASIDE


def drop_results(change: DropResults, plan: Plan) -> None:
    """Forget files of a task; the row of its numbers stays, empty."""
    if plan.metric_columns(change.stage) is not None:
        put_metrics(PutMetrics(change.stage, change.image_id, change.task_id, {}), plan)
    ids = [stable_id("artifact", change.session_id, path) for path in change.paths]
    if ids:
        plan.execute("artifact", "DELETE FROM artifact WHERE list_contains(?, artifact_id)", ids)


def put_verdict(change: PutVerdict, plan: Plan) -> None:
    """Enter what the gates say of an image."""
    plan.upsert(
        "verdict",
        {
            "image_id": change.image_id,
            "session_id": change.session_id,
            "passes": change.passes,
            "gate": change.gate,
            "reason": change.reason,
        },
        change.image_id,
    )
    said = {True: "passes", False: "refused", None: "undecided"}[change.passes]
    plan.record_move(
        "image", change.image_id, change.session_id, (None, said), plan.now_s, reason=change.reason, cause="judged"
    )


@dataclass(frozen=True)
class Figures:
    """What gates judge an image by: the stages it owes and the numbers of those that completed; the verdict so far."""

    image_id: str
    states: Mapping[str, TaskState]
    metrics: Mapping[str, Mapping[str, Any]]
    verdict: PutVerdict | None
    mark: Mark | None = None
    """What a person says of it, whatever the numbers are."""

    @property
    def was_cancelled(self) -> bool:
        """Whether a person cancelled what the image is judged by: nobody knows then whether it passes, but by hand."""
        return self.mark is None and TaskState.CANCELLED in self.states.values()


async def image_figures(store: Reads, image_id: str, states: Mapping[str, TaskState]) -> Figures:
    """Figures of one image whose tasks stand so; costs a few look-ups by key."""

    def read(connection: Connection) -> Figures:
        numbers = {
            stage: _read_numbers(connection, stage, "image_id = ?", image_id).get(image_id, {})
            for stage, state in states.items()
            if state is TaskState.COMPLETED
        }
        verdict = _read_verdicts(connection, "image_id = ?", image_id).get(image_id)
        mark = read_marks(connection, "image_id = ?", image_id).get(image_id)
        return Figures(image_id, states, numbers, verdict, mark)

    return await store.read(read)


async def session_figures(store: Reads, session_id: str, stages: tuple[str, ...]) -> list[Figures]:
    """Figures of every image of a session, by image id; not of movies that were set aside."""

    def read(connection: Connection) -> list[Figures]:
        states: dict[str, dict[str, TaskState]] = {}
        for key, stage, state in connection.execute(
            "SELECT task.image_id, stage, task.state FROM task JOIN movie USING (movie_id) WHERE task.session_id = ? "
            f"AND movie.state NOT IN {SET_ASIDE} AND list_contains(?, stage) ORDER BY created_at",
            [session_id, list(stages)],
        ).fetchall():
            states.setdefault(key, {})[stage] = TaskState(state)
        known = read_tables(connection)
        where = "image_id IN (SELECT image_id FROM image WHERE session_id = ?)"
        numbers = {stage: _read_numbers(connection, stage, where, session_id) for stage in stages if stage in known}
        verdicts = _read_verdicts(connection, "session_id = ?", session_id)
        marks = read_marks(connection, "session_id = ?", session_id)
        return [
            Figures(
                key,
                owed,
                {stage: numbers[stage].get(key, {}) for stage, state in owed.items() if state is TaskState.COMPLETED},
                verdicts.get(key),
                marks.get(key),
            )
            for key, owed in sorted(states.items())
        ]

    return await store.read(read)


def _read_numbers(connection: Connection, stage: str, where: str, value: str) -> dict[str, dict[str, Any]]:
    """Return the numbers of a stage by image."""
    found = connection.execute(f'SELECT * FROM "{table_name(stage)}" WHERE {where}', [value])
    names = [described[0] for described in found.description]
    rows = (dict(zip(names, row, strict=True)) for row in found.fetchall())
    return {row["image_id"]: row for row in rows}


def _read_verdicts(connection: Connection, where: str, value: str) -> dict[str, PutVerdict]:
    rows = connection.execute(
        f"SELECT session_id, image_id, passes, gate, reason FROM verdict WHERE {where}", [value]
    ).fetchall()
    return {row[1]: PutVerdict(*row) for row in rows}


@dataclass(frozen=True)
class VerdictCount:
    """How many images of a session pass, and how many are refused, in all and by gate ("by hand": by people).

    `failed`: how many could not be judged, by the stage that gave no numbers; `waiting`: likewise, of those for which
    that stage is to run once more. `accepted_by_hand` are among those that pass.
    """

    passes: int
    refused: int
    by_gate: Mapping[str, int]
    failed: Mapping[str, int] = field(default_factory=dict)
    accepted_by_hand: int = 0
    waiting: Mapping[str, int] = field(default_factory=dict)


async def count_verdicts(store: Reads, session_id: str) -> VerdictCount:
    """Count what the gates say of a session's images, but those whose movie was set aside."""

    def read(connection: Connection) -> VerdictCount:
        rows = connection.execute(
            "SELECT passes, gate, reason = gate || $2 AS lacks, owed.image_id IS NOT NULL AS is_open, count(*) "
            "FROM verdict LEFT JOIN (SELECT DISTINCT image_id, stage FROM task WHERE session_id = $1 "
            "AND state IN ('pending', 'running')) AS owed "
            "ON owed.image_id = verdict.image_id AND owed.stage = verdict.gate "
            "WHERE session_id = $1 AND passes IS NOT NULL AND verdict.image_id IN "
            f"(SELECT image_id FROM movie WHERE session_id = $1 AND state NOT IN {SET_ASIDE}) GROUP BY ALL",
            [session_id, f" {DID_NOT_SUCCEED}"],
        ).fetchall()
        by_gate: Counter[str] = Counter()
        failed: Counter[str] = Counter()
        waiting: Counter[str] = Counter()
        for passes, gate, lacks, is_open, count in rows:
            if not passes:
                (by_gate if not lacks else waiting if is_open else failed)[gate] += count
        passing = sum(count for passes, *_, count in rows if passes)
        by_hand = sum(count for passes, gate, *_, count in rows if passes and gate)
        # Plain ones: `asdict` would take a Counter's items for things to be counted.
        return VerdictCount(passing, sum(by_gate.values()), dict(by_gate), dict(failed), by_hand, dict(waiting))

    return await store.read(read)


async def has_results(store: Reads, session_id: str, *, besides: str) -> bool:
    """Whether an image of a session other than `besides` has a result, or is on its way to its first."""

    def read(connection: Connection) -> bool:
        row = connection.execute(
            "SELECT 1 FROM task WHERE session_id = ? AND image_id <> ? "
            "AND (state = ? OR (state = ? AND attempts <= 1)) LIMIT 1",
            [session_id, besides, TaskState.COMPLETED.value, TaskState.RUNNING.value],
        ).fetchone()
        return row is not None

    return await store.read(read)
