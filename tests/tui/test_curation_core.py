"""What a terminal says of moved gates is what the daemon says; axes, cells and bars of plots."""

from dataclasses import replace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.domain.states import TaskState
from daemon.engine.curation import Curation as Answers
from daemon.engine.gatekeeper import Gatekeeper
from daemon.messages.curation import CurationAnswer, GateInfo
from daemon.pipeline.gate import GATES, judge
from daemon.store.marks import Mark
from daemon.store.results import Figures
from tui.core.curation import Curation, judge_all
from tui.core.plot import (
    PASSES,
    REFUSED,
    REFUSED_HERE,
    REJECTED,
    SIGNS,
    UNKNOWN,
    Axis,
    fill_grid,
    show_bar,
    show_spark,
    show_tick,
)


class Engine:
    """As much of an engine as the answers need."""

    def __init__(self) -> None:
        self.store = cast("Any", None)  # nothing of it is read
        self.gatekeeper = Gatekeeper(self.store, GATES, {}, [])


STATES = st.sampled_from([TaskState.PENDING, TaskState.COMPLETED, TaskState.FAILED, TaskState.CANCELLED])
NUMBER = st.none() | st.floats(0, 70_000, allow_nan=False)
CTF = ("fit_resolution_ang", "score", "astigmatism_ang", "defocus_u_ang", "defocus_v_ang", "ice_ring")


@st.composite
def figures(draw: st.DrawFn) -> Figures:
    stages = draw(st.sets(st.sampled_from(["ctf_estimation", "motion_correction"]), min_size=1))
    states = {stage: draw(STATES) for stage in stages}
    numbers: dict[str, dict[str, Any]] = {}
    if states.get("ctf_estimation") is TaskState.COMPLETED:
        numbers["ctf_estimation"] = {key: draw(NUMBER) for key in CTF} | {"confident": draw(st.booleans())}
    if states.get("motion_correction") is TaskState.COMPLETED:
        frames = draw(st.none() | st.integers(1, 80))
        numbers["motion_correction"] = {"total_motion_ang": draw(NUMBER), "frame_count": frames}
    mark = draw(st.none() | st.booleans())
    return Figures("i", states, numbers, None, None if mark is None else Mark(mark, "ada", ""))


def answer_of(found: list[Figures]) -> CurationAnswer:
    engine: Any = Engine()
    answers = Answers(engine)
    distrust = {gate.stage: gate.distrust for gate in GATES if gate.distrust is not None}
    described = [
        GateInfo(
            name=gate.name,
            measure=f"{gate.stage}: {gate.meaning}",
            stage=gate.stage,
            passes_below=gate.passes_below,
            is_needed=gate.is_needed,
            distrusts=gate.distrust is not None,
            limit=gate.default,
            configured=gate.default,
        )
        for gate in GATES
    ]
    return CurationAnswer(
        session="s",
        stages=list(answers.stages),
        measures=answers.described(),
        gates=described,
        set_here={},
        moves=[],
        images=[answers.figures_of(item, f"x{number}", number, distrust) for number, item in enumerate(found)],
    )


@settings(deadline=None, max_examples=60)
@given(
    st.lists(figures(), max_size=8),
    st.fixed_dictionaries({gate.name: st.none() | st.floats(0, 70_000) for gate in GATES}),
)
def test_the_terminal_judges_as_the_daemon_does(found: list[Figures], limits: dict[str, float | None]) -> None:
    here = judge_all(answer_of(found), limits)
    for item, passes in zip(found, here.passes, strict=True):
        if item.mark is not None:
            assert passes is item.mark.passes
        elif item.was_cancelled:
            assert passes is None
        else:
            assert passes is judge(GATES, limits, item.states, item.metrics).passes
    assert sum(here.counts.values()) == len(found)


def test_gates_of_one_measure_judge_the_same_number() -> None:
    by_measure: dict[str, set[object]] = {}
    for gate in GATES:
        by_measure.setdefault(f"{gate.stage}: {gate.meaning}", set()).add(gate.value)
    assert all(len(values) == 1 for values in by_measure.values())


def one(resolution_ang: float, **more: Any) -> Figures:
    numbers: dict[str, Any] = dict.fromkeys(CTF, 1500.0) | {
        "fit_resolution_ang": resolution_ang,
        "ice_ring": None,
        "confident": True,
        **more,
    }
    return Figures("i", {"ctf_estimation": TaskState.COMPLETED}, {"ctf_estimation": numbers}, None)


def test_what_a_person_rejected_no_gate_refused() -> None:
    marked = [replace(one(8.0), mark=Mark(passes, "ada", "")) for passes in (False, True)]
    curation = Curation(answer_of([one(8.0), *marked]))
    gate = curation.gate(curation.measures[0].key, passes_below=True)
    assert gate is not None
    curation.move(gate, 5.0)
    kinds = [REFUSED_HERE, REJECTED, PASSES]
    assert curation.kinds(curation.judge(), curation.measures[0].key) == kinds
    assert SIGNS[REJECTED][1] == "rejected by hand"
    assert len({sign for sign, _, _ in SIGNS}) == len(SIGNS)
    axis = Axis(0, 1, 1)
    drawn = fill_grid([0.5] * 3, [0.5] * 3, [REJECTED, PASSES, UNKNOWN], axis, axis)
    assert drawn.cells == (((REJECTED, False),),)


def test_moving_a_gate_counts_anew_and_moving_it_back_is_no_move() -> None:
    curation = Curation(answer_of([one(4.0), one(6.0), one(8.0)]))
    resolution = curation.measures[0].key
    gate = curation.gate(resolution, passes_below=True)
    assert gate is not None
    assert gate.name == "ctf_resolution_ang"
    assert curation.gate(resolution, passes_below=False) is None
    assert curation.judge().counts["passes"] == 3
    curation.move(gate, 5.0)
    judged = curation.judge()
    assert (judged.counts["passes"], judged.refused_by) == (1, {"ctf_resolution_ang": 2})
    assert curation.kinds(judged, resolution) == [PASSES, REFUSED_HERE, REFUSED_HERE]
    assert curation.kinds(judged, curation.measures[1].key) == [PASSES, REFUSED, REFUSED]
    curation.move(gate, gate.limit)
    assert curation.moved == {}
    curation.move(gate, None)
    assert curation.limits()["ctf_resolution_ang"] is None
    curation.take(curation.answer)
    assert curation.moved == {"ctf_resolution_ang": None}


def test_an_axis_leaves_far_outliers_on_its_edge_and_shows_every_limit() -> None:
    values = [float(number % 100) for number in range(1000)] + [1e6]
    axis = Axis.over(values, 20)
    assert axis.low == 0.0
    assert 99 < axis.high < 110
    assert Axis.over(values, 20, wanted=[150.0]).high > 150
    grid = fill_grid([0.0] * len(values), values, [PASSES] * len(values), Axis(0, 1, 3), axis)
    assert grid.above == 1
    assert sum(grid.histogram) == len(values)
    assert grid.cells[0][0] is not None
    assert Axis.over([], 10).cells == 10
    assert Axis.over([5.0], 10).cell(5.0) in range(10)


def test_where_points_share_a_cell_the_refused_one_shows() -> None:
    axis = Axis(0.0, 1.0, 1)
    grid = fill_grid([0.5] * 3, [0.5] * 3, [PASSES, REFUSED_HERE, UNKNOWN], axis, axis)
    assert grid.cells == (((REFUSED_HERE, False),),)
    alone = fill_grid([0.5] * 4, [0.5] * 4, [PASSES] * 4, axis, axis)
    assert alone.cells == (((PASSES, True),),)


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (900, 61_000), (3.2, 3.9), (-5.0, 5.0), (0.0, 1e-3)])
def test_ticks_are_round_and_few(low: float, high: float) -> None:
    axis = Axis(low, high, 40)
    ticks = axis.ticks(6)
    assert 2 <= len(ticks) <= 7
    assert all(low <= tick <= high + 1e-9 for tick in ticks)
    assert len({show_tick(tick, axis) for tick in ticks}) == len(ticks)


def test_a_value_comes_back_from_its_cell() -> None:
    axis = Axis(0.0, 10.0, 25)
    assert [axis.cell(axis.value(cell)) for cell in range(25)] == list(range(25))


def test_bars_and_sparks_show_whatever_there_is() -> None:
    assert show_bar(0, 10, 4) == ""
    assert show_bar(1, 10_000, 4) == "▏"
    assert show_bar(10, 10, 4) == "████"
    assert show_spark([0, 1, 9], 3) == "·▁█"
    assert len(show_spark(list(range(60)), 20)) == 20
    assert show_spark([], 20) == ""
