"""Knows the limits of every session's gates and judges images by them; the one place that does."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from daemon.domain.states import TaskState
from daemon.engine.work import ImageWork
from daemon.pipeline.gate import Gate, Limits, Verdict, decide_by_hand, judge
from daemon.store import results, tasks
from daemon.store.changes import PutVerdict
from daemon.store.marks import Mark
from daemon.store.results import Figures
from daemon.store.rows import ControlRow
from daemon.store.store import Store

GATE = "gate"
"""Kind of an end that a gate decided."""


class Gatekeeper:
    """Gates with their limits: as configured, or as a person has set them for a session."""

    def __init__(self, store: Store, gates: Sequence[Gate], limits: Limits, controls: Iterable[ControlRow]) -> None:
        """`limits` are the configured ones; a gate that they do not name has its own default."""
        self.gates = tuple(gates)
        self._store = store
        self._configured: dict[str, float | None] = {gate.name: limits.get(gate.name, gate.default) for gate in gates}
        self._set: dict[str, dict[str, float | None]] = {
            row.session_id: dict(row.value) for row in controls if row.kind == "gates" and row.session_id is not None
        }
        self.stages = tuple(dict.fromkeys(gate.stage for gate in gates))

    def limits(self, session_id: str, moved: Limits | None = None) -> dict[str, float | None]:
        """Return the limits that hold for a session; with `moved`, those that would instead of what is set."""
        set_here = self._set.get(session_id, {}) if moved is None else moved
        return {name: set_here.get(name, limit) for name, limit in self._configured.items()}

    def set_limits(self, session_id: str) -> dict[str, float | None]:
        """Return what people have set for a session."""
        return dict(self._set.get(session_id, {}))

    def take(self, session_id: str, moved: Limits) -> None:
        """Let limits hold that were committed; empty means the configured ones."""
        self._set[session_id] = dict(moved)

    def configure(self, limits: Limits) -> None:
        """Let new configured limits hold, from the next image on; `judge_all` says what they change of others."""
        self._configured.update({name: limit for name, limit in limits.items() if name in self._configured})

    async def judge_now(self, work: ImageWork, fresh: Mapping[str, Mapping[str, Any]]) -> Verdict:
        """Judge an image in the middle of its visit; `fresh` are numbers that may not be in the store yet."""
        owed = await tasks.tasks(self._store, movie_id=work.movie.movie_id)
        stored = await self._figures(work.image.image_id, {task.stage: task.state for task in owed})
        states = dict(stored.states) | dict.fromkeys(set(fresh) & set(self.stages), TaskState.COMPLETED)
        figures = replace(stored, states=states, metrics={**stored.metrics, **fresh})
        return self._weigh(figures, self.limits(work.session.session_id))

    async def judge_stored(
        self, session_id: str, image_id: str, states: Mapping[str, TaskState]
    ) -> tuple[Verdict, PutVerdict | None]:
        """Judge an image whose tasks stand so; with it what to commit, None where that is there already."""
        stored = await self._figures(image_id, states)
        verdict = self._weigh(stored, self.limits(session_id))
        # What a person cancelled is not known, nor to `judge_all`; its other tasks must end all the same.
        told = Verdict(None) if stored.was_cancelled else verdict
        put = PutVerdict(session_id, image_id, told.passes, told.gate, told.reason)
        return verdict, None if put == stored.verdict or not stored.states else put

    async def _figures(self, image_id: str, states: Mapping[str, TaskState]) -> Figures:
        judged_by = {stage: state for stage, state in states.items() if stage in self.stages}
        if not judged_by:
            return Figures(image_id, {}, {}, None)
        return await results.image_figures(self._store, image_id, judged_by)

    async def judge_all(
        self, session_id: str, limits: Limits, marks: Mapping[str, Mark | None]
    ) -> list[tuple[Figures, Verdict]]:
        """Judge every image of a session by other limits than those that hold, and by marks instead of those set."""
        found = await results.session_figures(self._store, session_id, self.stages) if self.gates else []
        marked = [replace(item, mark=marks[item.image_id]) if item.image_id in marks else item for item in found]
        return [
            (figures, Verdict(None) if figures.was_cancelled else self._weigh(figures, limits)) for figures in marked
        ]

    def _weigh(self, figures: Figures, limits: Limits) -> Verdict:
        """What a person says stands above the gates."""
        if figures.mark is not None:
            return decide_by_hand(figures.mark.passes, figures.mark.asked_by, figures.mark.why)
        return judge(self.gates, limits, figures.states, figures.metrics)
