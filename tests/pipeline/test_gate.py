"""What gates say of an image."""

from dataclasses import fields

import pytest

from daemon.config.gates import GateSettings
from daemon.domain.states import TaskState
from daemon.pipeline.gate import GATES, Verdict, judge
from daemon.stages import MOVIE_STAGES

DONE, PENDING, FAILED = TaskState.COMPLETED, TaskState.PENDING, TaskState.FAILED
LIMITS = {gate.name: gate.default for gate in GATES}
BOTH = {"motion_correction": DONE, "ctf_estimation": DONE}
GOOD: dict[str, dict[str, object]] = {
    "motion_correction": {"total_motion_ang": 12.0, "frame_count": 41},
    "ctf_estimation": {
        "confident": True,
        "fit_resolution_ang": 4.2,
        "score": 0.2,
        "astigmatism_ang": 120.0,
        "defocus_u_ang": 12_060.0,
        "defocus_v_ang": 11_940.0,
    },
}


def with_ctf(**changed: object) -> dict[str, dict[str, object]]:
    return {**GOOD, "ctf_estimation": {**GOOD["ctf_estimation"], **changed}}


def test_a_good_image_passes_the_defaults() -> None:
    assert judge(GATES, LIMITS, BOTH, GOOD) == Verdict(True)


@pytest.mark.parametrize(
    ("metrics", "gate", "said"),
    [
        (with_ctf(fit_resolution_ang=12.3), "ctf_resolution_ang", "CTF fit resolution 12.3 Å, asked for at most 10 Å"),
        (with_ctf(astigmatism_ang=2500.0), "astigmatism_ang", "astigmatism 2500 Å, asked for at most 2000 Å"),
        (with_ctf(defocus_u_ang=500.0, defocus_v_ang=300.0), "defocus_least_ang", "defocus 400 Å, asked for at least"),
        (with_ctf(defocus_u_ang=7e4, defocus_v_ang=6e4), "defocus_most_ang", "defocus 6.5e+04 Å, asked for at most"),
        (with_ctf(confident=False), "ctf_estimation", "ctf_estimation: the fit of the CTF is not to be trusted"),
        (with_ctf(fit_resolution_ang=None), "ctf_resolution_ang", "found no"),
        (with_ctf(ice_ring=4.0), "ice_ring", "ice ring 4, asked for at most 2"),
        (
            {**GOOD, "motion_correction": {"total_motion_ang": 140.0, "frame_count": 40}},
            "motion_total_ang",
            "motion 140 Å, asked for at most 100 Å",
        ),
        (
            {**GOOD, "motion_correction": {"total_motion_ang": 88.0, "frame_count": 5}},
            "motion_per_frame_ang",
            "motion per frame 22 Å, asked for at most 10 Å",
        ),
    ],
)
def test_the_first_gate_that_refuses_is_named_with_value_and_limit(
    metrics: dict[str, dict[str, object]], gate: str, said: str
) -> None:
    verdict = judge(GATES, LIMITS, BOTH, metrics)
    assert (verdict.passes, verdict.gate) == (False, gate)
    assert said in verdict.reason


def test_ice_that_cannot_be_measured_refuses_nothing() -> None:
    assert judge(GATES, LIMITS, BOTH, with_ctf(ice_ring=None)).passes
    assert judge(GATES, LIMITS, BOTH, with_ctf(ice_ring=1.1)).passes


def test_a_movie_in_which_nothing_was_aligned_is_judged_by_its_ctf() -> None:
    still: dict[str, object] = {"total_motion_ang": None, "frame_count": 1}
    assert judge(GATES, LIMITS, BOTH, {**GOOD, "motion_correction": still}).passes


def test_a_limit_itself_passes() -> None:
    assert judge(GATES, LIMITS, BOTH, with_ctf(fit_resolution_ang=10.0, astigmatism_ang=2000.0)).passes


def test_what_has_not_ended_keeps_an_image_undecided_unless_another_gate_refuses() -> None:
    waits = {**BOTH, "ctf_estimation": PENDING}
    assert judge(GATES, LIMITS, waits, GOOD) == Verdict(None)
    drifting: dict[str, dict[str, object]] = {
        **GOOD,
        "motion_correction": {"total_motion_ang": 140.0, "frame_count": 40},
    }
    assert judge(GATES, LIMITS, waits, drifting).gate == "motion_total_ang"


def test_a_stage_that_failed_refuses_and_one_that_is_not_asked_for_is_not_judged_by() -> None:
    failed = judge(GATES, LIMITS, {**BOTH, "ctf_estimation": FAILED}, GOOD)
    assert failed == Verdict(False, "ctf_estimation", "ctf_estimation did not succeed")
    assert judge(GATES, LIMITS, {"motion_correction": DONE}, GOOD) == Verdict(True)


@pytest.mark.parametrize("ctf", [PENDING, TaskState.SKIPPED])
@pytest.mark.parametrize("moved", [{}, {"motion_total_ang": None, "motion_per_frame_ang": None}])
def test_the_stage_that_failed_is_named_and_not_one_that_was_skipped_for_it(
    ctf: TaskState, moved: dict[str, None]
) -> None:
    verdict = judge(GATES, {**LIMITS, **moved}, {"ctf_estimation": ctf, "motion_correction": FAILED}, {})
    if moved and ctf is PENDING:
        assert verdict == Verdict(None)
    else:
        assert verdict == Verdict(False, "motion_correction", "motion_correction did not succeed")
    gated = judge(GATES, LIMITS, {**BOTH, "ctf_estimation": TaskState.SKIPPED}, GOOD)
    assert gated.gate == "ctf_estimation", "for what else it was skipped is not known"


@pytest.mark.parametrize(
    ("state", "metrics", "said"),
    [(FAILED, GOOD, "did not succeed"), (DONE, with_ctf(confident=False, astigmatism_ang=100.0), "not to be trusted")],
)
def test_no_gate_is_blamed_for_a_stage_that_gave_nothing_to_judge_by(
    state: TaskState, metrics: dict[str, dict[str, object]], said: str
) -> None:
    limits = {**LIMITS, "ctf_resolution_ang": None}
    verdict = judge(GATES, limits, {**BOTH, "ctf_estimation": state}, metrics)
    assert (verdict.passes, verdict.gate) == (False, "ctf_estimation")
    assert said in verdict.reason


def test_a_gate_that_is_off_refuses_nothing() -> None:
    assert judge(GATES, dict.fromkeys(LIMITS), {**BOTH, "ctf_estimation": FAILED}, {}) == Verdict(True)


def test_every_gate_judges_by_a_stage_that_is_there_and_the_configuration_knows_it() -> None:
    columns = {stage.name: {field.name for field in fields(stage.Metrics)} for stage in MOVIE_STAGES}
    for gate in GATES:
        assert gate.value({**dict.fromkeys(columns[gate.stage], 1.0), "confident": True}) is not None, gate.name
    assert GateSettings().limits == LIMITS
