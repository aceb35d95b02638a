"""What people move gates by: every figure of a session that is judged, as the gates see it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from daemon.config.gates import bounds_of
from daemon.domain.states import TaskState
from daemon.engine.answers import Handler
from daemon.engine.engine import Engine
from daemon.engine.lookup import find_session
from daemon.messages.curation import (
    STANDINGS,
    CurationAnswer,
    CurationQuery,
    GateInfo,
    ImageFigures,
    LimitsMove,
    MeasureInfo,
)
from daemon.pipeline.gate import Gate, Metrics
from daemon.store.curation import image_moments, limits_moves
from daemon.store.results import Figures, session_figures


@dataclass(frozen=True)
class Measure:
    """A number of one stage, worth a curve."""

    stage: str
    title: str
    unit: str
    value: Callable[[Metrics], float | None]

    @property
    def key(self) -> str:
        """Its name on the wire: gates that judge the same number have one measure."""
        return f"{self.stage}: {self.title}"


def _of(stage: str, title: str, unit: str, column: str) -> Measure:
    return Measure(stage, title, unit, lambda metrics: metrics.get(column))


_UNGATED = (
    _of("ctf_estimation", "phase shift", "°", "phase_shift_deg"),
    _of("ctf_estimation", "tilt", "°", "tilt_angle_deg"),
    _of("ctf_estimation", "thickness", " Å", "thickness_ang"),
    _of("motion_correction", "early motion", " Å", "early_motion_ang"),
    _of("motion_correction", "local motion", " Å", "largest_local_motion_ang"),
    _of("motion_correction", "motion error", " px", "expected_error_px"),
    _of("motion_correction", "motion signal", " σ", "signal_sigma"),
)
"""Numbers that no gate judges and people look at all the same."""


class Curation:
    """Handlers by name, as the responder wants them; they change nothing."""

    def __init__(self, engine: Engine) -> None:
        self._store = engine.store
        self._keeper = engine.gatekeeper
        self._measures = {
            measure.key: measure
            for measure in (
                *(Measure(gate.stage, gate.meaning, gate.unit, gate.value) for gate in self._keeper.gates),
                *_UNGATED,
            )
        }
        self.stages = tuple(dict.fromkeys(measure.stage for measure in self._measures.values()))

    def handlers(self) -> Mapping[str, Handler]:
        """Return every handler this class has."""
        return {"curation": self.curation}

    async def curation(self, query: CurationQuery, asked_by: str) -> CurationAnswer:
        """The figures of every image of a session, its gates, and who moved them before."""
        del asked_by
        session = await find_session(self._store, query.session)
        moments = await image_moments(self._store, session.session_id)
        found = {item.image_id: item for item in await session_figures(self._store, session.session_id, self.stages)}
        holds, configured = self._keeper.limits(session.session_id), self._keeper.limits(session.session_id, {})
        moves = await limits_moves(self._store, session.session_id)
        distrust = {gate.stage: gate.distrust for gate in self._keeper.gates if gate.distrust is not None}
        return CurationAnswer(
            session=session.name,
            stages=list(self.stages),
            measures=self.described(),
            gates=[_describe(gate, holds[gate.name], configured[gate.name]) for gate in self._keeper.gates],
            set_here=self._keeper.set_limits(session.session_id),
            moves=[
                LimitsMove(limits=move.limits, at_s=move.at_s, asked_by=move.asked_by, why=move.why) for move in moves
            ],
            images=[
                self.figures_of(found[image_id], name, at_s, distrust)
                for image_id, (name, at_s) in moments.items()
                if image_id in found
            ],
        )

    def described(self) -> list[MeasureInfo]:
        """Return every measure, those that gates judge first."""
        return [
            MeasureInfo(key=key, title=measure.title, unit=measure.unit, stage=measure.stage)
            for key, measure in self._measures.items()
        ]

    def figures_of(self, figures: Figures, name: str, at_s: float, distrust: Mapping[str, Any]) -> ImageFigures:
        """Return what is told of an image."""
        standings = [_standing(stage, figures, distrust.get(stage)) for stage in self.stages]
        values = []
        for measure in self._measures.values():
            numbers = figures.metrics.get(measure.stage)
            value = None if numbers is None else measure.value(numbers)
            values.append(None if value is None else float(value))
        return ImageFigures(
            name=name,
            at_s=at_s,
            standings=standings,
            values=values,
            mark=None if figures.mark is None else figures.mark.passes,
        )


def _describe(gate: Gate, limit: float | None, configured: float | None) -> GateInfo:
    least, most = bounds_of(gate.name)
    return GateInfo(
        name=gate.name,
        measure=Measure(gate.stage, gate.meaning, gate.unit, gate.value).key,
        stage=gate.stage,
        passes_below=gate.passes_below,
        is_needed=gate.is_needed,
        distrusts=gate.distrust is not None,
        limit=limit,
        configured=configured,
        least=least,
        most=most,
    )


def _standing(stage: str, figures: Figures, distrust: Callable[[Metrics], str | None] | None) -> int:
    state = figures.states.get(stage)
    if state is None:
        word = "none"
    elif not state.is_terminal:
        word = "waiting"
    elif state is TaskState.CANCELLED:
        word = "cancelled"
    elif state is not TaskState.COMPLETED:
        word = "failed"
    else:
        word = "distrusted" if distrust is not None and distrust(figures.metrics[stage]) else "done"
    return STANDINGS.index(word)
