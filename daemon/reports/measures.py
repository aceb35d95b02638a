"""The numbers that a report draws, each with its unit, its gates and what it tells; a new one is one entry here.

Numeric columns that nobody has written up are drawn all the same, by their own names.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from daemon.reports.charts import GateLine, Plot
from daemon.reports.data import Numbers, SessionData
from daemon.reports.questions import METRICS

MOTION, CTF = f"{METRICS}motion_correction", f"{METRICS}ctf_estimation"


@dataclass(frozen=True)
class Measure:
    """One number of every micrograph. `factor` leads from the store's unit to the one that is drawn."""

    key: str
    title: str
    unit: str
    tells: str
    """One sentence: what a good one is like, and what a bad one comes from."""
    read: Callable[[SessionData], Numbers]
    covers: tuple[tuple[str, str], ...]
    """Tables and columns that this measure shows."""
    gates: tuple[str, ...] = ()
    factor: float = 1.0
    is_of_fit: bool = False
    """Whether it means nothing where the fit of the CTF is not to be trusted."""

    def plot(self, data: SessionData) -> Plot:
        """Return what is to be drawn of a session."""
        by_name = {gate.name: gate for gate in data.gates}
        lines = []
        for name in self.gates:
            limit = data.limits.get(name)
            if name in by_name and limit is not None:
                lines.append(GateLine(name, limit * self.factor, by_name[name].passes_below))
        distrusted = None
        if self.is_of_fit:
            distrusted = np.asarray([row.get("ctf_confident") is False for row in data.micrographs], dtype=bool)
        return Plot(
            self.key,
            self.title,
            self.unit,
            data.numbers("written_s"),
            self.read(data) * self.factor,
            tuple(lines),
            distrusted,
        )


def _column(table: str, column: str) -> Callable[[SessionData], Numbers]:
    return lambda data: data.numbers(column, table)


def _of_ctf(
    column: str, title: str, unit: str, tells: str, gates: tuple[str, ...] = (), factor: float = 1.0
) -> Measure:
    return Measure(column, title, unit, tells, _column(CTF, column), ((CTF, column),), gates, factor, is_of_fit=True)


def _of_motion(column: str, title: str, unit: str, tells: str, gates: tuple[str, ...] = ()) -> Measure:
    return Measure(column, title, unit, tells, _column(MOTION, column), ((MOTION, column),), gates)


def _mean_defocus(data: SessionData) -> Numbers:
    mean: Numbers = (data.numbers("defocus_u_ang", CTF) + data.numbers("defocus_v_ang", CTF)) / 2
    return mean


def _motion_per_frame(data: SessionData) -> Numbers:
    frames = data.numbers("frame_count", MOTION)
    step: Numbers = data.numbers("total_motion_ang", MOTION) / np.maximum(frames - 1, 1)
    return step


MEASURES: tuple[Measure, ...] = (
    _of_ctf(
        "fit_resolution_ang",
        "CTF fit resolution",
        "Å",
        "How far the Thon rings are followed; smaller is better. It rises with thick ice, drift and astigmatism.",
        ("ctf_resolution_ang",),
    ),
    Measure(
        "defocus",
        "Defocus",
        "µm",
        "Mean of the two axes, underfocus positive; it should spread over the range that was asked for.",
        _mean_defocus,
        ((CTF, "defocus_u_ang"), (CTF, "defocus_v_ang")),
        ("defocus_least_ang", "defocus_most_ang"),
        1e-4,
        is_of_fit=True,
    ),
    _of_ctf(
        "astigmatism_ang",
        "Astigmatism",
        "Å",
        "Difference of the two defoci. A slow rise asks for the stigmator; single high ones are charging or bad fits.",
        ("astigmatism_ang",),
    ),
    _of_ctf(
        "score", "CTF score", "", "Agreement of measured and fitted rings; 1 would be without noise.", ("ctf_score",)
    ),
    Measure(
        "ice_ring",
        "Ice ring",
        "×",
        "Power near 3.7 Å over its surroundings: 1 without crystalline ice.",
        _column(CTF, "ice_ring"),
        ((CTF, "ice_ring"),),
        ("ice_ring",),
    ),
    _of_motion(
        "total_motion_ang",
        "Drift",
        "Å",
        "Length of the whole frame's path. High values after each move of the stage: it had not settled.",
        ("motion_total_ang",),
    ),
    Measure(
        "motion_per_frame",
        "Motion per frame",
        "Å",
        "Mean step from frame to frame; it does not grow with the exposure.",
        _motion_per_frame,
        ((MOTION, "frame_count"),),
        ("motion_per_frame_ang",),
    ),
    _of_motion(
        "early_motion_ang",
        "Early motion",
        "Å",
        "Path of the first third of the frames, in which the beam settles the ice.",
    ),
    _of_motion(
        "largest_local_motion_ang",
        "Local motion",
        "Å",
        "Farthest that any place moved beside the whole frame, as where the ice domes.",
    ),
    _of_motion(
        "signal_sigma",
        "Confidence of the motion",
        "σ",
        "Signal in the aligned frames over noise; below 8 the alignment is doubtful, below 5 none is tried.",
    ),
    _of_motion("expected_error_px", "Error of the motion", "px", "Error to be expected, RMS over frames and field."),
    _of_ctf("phase_shift_deg", "Phase shift", "°", "0 without a phase plate."),
    _of_ctf("tilt_angle_deg", "Tilt of the specimen", "°", "Where the data speak for one; a flat specimen has none."),
    Measure(
        "thickness",
        "Thickness of the ice",
        "nm",
        "From the node of the rings; ice below some 100 nm shows none.",
        _column(CTF, "thickness_ang"),
        ((CTF, "thickness_ang"),),
        (),
        0.1,
        is_of_fit=True,
    ),
)
"""In the order in which they are shown."""

_UNITS = {"ang": "Å", "nm": "nm", "um": "µm", "mm": "mm", "ang2": "e⁻/Å²", "deg": "°", "px": "px", "s": "s", "kv": "kV"}


def other_measures(data: SessionData) -> Iterator[Measure]:
    """Return a measure for every numeric column of the stages that none of MEASURES shows."""
    covered = {pair for measure in MEASURES for pair in measure.covers}
    for table in data.stage_tables():
        stage = table.removeprefix(METRICS)
        for column in data.answer(table).columns:
            if (table, column) in covered or column in {"image_id", "task_id"}:
                continue
            values = [value for value in data.stage_column(table, column) if value is not None]
            if values and all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
                words, _, last = column.rpartition("_")
                unit = _UNITS.get(last, "") if words else ""
                title = (words if unit else column).replace("_", " ")
                title = title.removesuffix(" e per")
                yield Measure(
                    f"{stage}-{column}", f"{title} ({stage.replace('_', ' ')})", unit, "",
                    _column(table, column), ((table, column),),
                )  # fmt: skip
