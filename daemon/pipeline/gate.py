"""Gates: which micrographs are worth what costs most, judged by the numbers of earlier stages.

A stage that declares `gated` runs only on images that pass; the others' tasks are skipped, the gate named.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from daemon.domain.states import DID_NOT_SUCCEED, TaskState

Metrics = Mapping[str, Any]
Limits = Mapping[str, float | None]
"""A limit for each gate by name; None switches it off."""
BY_HAND = "by hand"
"""Named as the gate where a person has decided."""


@dataclass(frozen=True)
class Gate:
    """One rule: a number of one stage, and on which side of its limit an image passes."""

    name: str
    stage: str
    value: Callable[[Metrics], float | None]
    """The number that is judged, None where the stage found none."""
    meaning: str
    unit: str
    passes_below: bool
    default: float | None
    is_needed: bool = True
    """Whether an image without the number is refused."""
    distrust: Callable[[Metrics], str | None] | None = None
    """Says, if it applies, why the stage's numbers mean nothing: the image is refused whatever they are."""

    def refuse(self, metrics: Metrics, limit: float) -> "Verdict | None":
        """Return why an image is refused, value and limit in words; None when it passes."""
        distrusted = self.distrust(metrics) if self.distrust else None
        if distrusted is not None:
            return Verdict(False, self.stage, f"{self.stage}: {distrusted}")
        value = self.value(metrics)
        if value is None:
            found_none = f"{self.name}: {self.stage} found no {self.meaning}"
            return Verdict(False, self.name, found_none) if self.is_needed else None
        if value <= limit if self.passes_below else value >= limit:
            return None
        most = "at most" if self.passes_below else "at least"
        said = f"{self.name}: {self.meaning} {value:.4g}{self.unit}, asked for {most} {limit:.4g}{self.unit}"
        return Verdict(False, self.name, said)


@dataclass(frozen=True)
class Verdict:
    """What the gates say: `passes` is None while a stage that they judge by has not ended."""

    passes: bool | None
    gate: str = ""
    """The gate that refuses; the stage itself where it gave no numbers to judge by; BY_HAND where a person decided."""
    reason: str = ""

    @property
    def is_refused(self) -> bool:
        """Whether a gate refuses the image; one whose numbers never came is kept from gated stages, but not refused."""
        return self.passes is False and not self.lacks_numbers

    @property
    def lacks_numbers(self) -> bool:
        """Whether a stage that the image is judged by failed or was skipped."""
        return self.passes is False and self.reason == f"{self.gate} {DID_NOT_SUCCEED}"


def judge(
    gates: Sequence[Gate], limits: Limits, states: Mapping[str, TaskState], metrics: Mapping[str, Metrics]
) -> Verdict:
    """Judge an image; the first gate that refuses it is named.

    `states` has the stages that the image owes: what is not asked for is not judged by, and what did not succeed
    refuses. `metrics` has the numbers of those that completed.
    """
    undecided = False
    for gate in gates:
        limit, state = limits.get(gate.name), states.get(gate.stage)
        if limit is None or state is None:
            continue
        if not state.is_terminal:
            undecided = True
            continue
        if state is not TaskState.COMPLETED:
            first = _first_failed(gate.stage, states)
            return Verdict(False, first, f"{first} {DID_NOT_SUCCEED}")
        refused = gate.refuse(metrics[gate.stage], limit)
        if refused is not None:
            return refused
    return Verdict(None if undecided else True)


def _first_failed(stage: str, states: Mapping[str, TaskState]) -> str:
    """Return the stage that kept another one from succeeding: one that was skipped waited for one that failed."""
    if states[stage] is not TaskState.SKIPPED:
        return stage
    return next((other for other, state in states.items() if state is TaskState.FAILED), stage)


def decide_by_hand(passes: bool, asked_by: str, why: str) -> Verdict:
    """Return what a person decided, which stands above the gates."""
    said = f"{BY_HAND}: {'accepted' if passes else 'rejected'} by {asked_by}"
    return Verdict(passes, BY_HAND, f"{said}: {why}" if why else said)


def _number(name: str) -> Callable[[Metrics], float | None]:
    return lambda metrics: metrics.get(name)


def _distrust_fit(metrics: Metrics) -> str | None:
    """Say that a CTF is not to be trusted; of noise a fit gives numbers too, and they mean nothing."""
    return None if metrics.get("confident") else "the fit of the CTF is not to be trusted"


def _mean_defocus_ang(metrics: Metrics) -> float | None:
    u_ang, v_ang = metrics.get("defocus_u_ang"), metrics.get("defocus_v_ang")
    return None if u_ang is None or v_ang is None else float(u_ang + v_ang) / 2


def _motion_per_frame_ang(metrics: Metrics) -> float | None:
    total_ang, frames = metrics.get("total_motion_ang"), metrics.get("frame_count")
    return None if total_ang is None or frames is None else float(total_ang) / max(int(frames) - 1, 1)


_CTF, _MOTION = "ctf_estimation", "motion_correction"


def _ctf_gate(
    name: str,
    value: Callable[[Metrics], float | None],
    meaning: str,
    unit: str,
    passes_below: bool,
    default: float | None,
) -> Gate:
    return Gate(name, _CTF, value, meaning, unit, passes_below, default, distrust=_distrust_fit)


GATES: tuple[Gate, ...] = (
    _ctf_gate("ctf_resolution_ang", _number("fit_resolution_ang"), "CTF fit resolution", " Å", True, 10.0),
    _ctf_gate("ctf_score", _number("score"), "CTF score", "", False, None),
    _ctf_gate("astigmatism_ang", _number("astigmatism_ang"), "astigmatism", " Å", True, 2000.0),
    _ctf_gate("defocus_least_ang", _mean_defocus_ang, "defocus", " Å", False, 1000.0),
    _ctf_gate("defocus_most_ang", _mean_defocus_ang, "defocus", " Å", True, 60_000.0),
    # Where the pixel is too coarse for the ring to be seen, nothing can be said about ice.
    Gate("ice_ring", _CTF, _number("ice_ring"), "ice ring", "", True, 2.0, is_needed=False),
    # What could not be aligned, or is a single frame, has no motion to judge: its CTF tells what it is worth.
    Gate("motion_total_ang", _MOTION, _number("total_motion_ang"), "motion", " Å", True, 100.0, is_needed=False),
    Gate("motion_per_frame_ang", _MOTION, _motion_per_frame_ang, "motion per frame", " Å", True, 10.0, is_needed=False),
)
"""In the order in which they are asked."""
