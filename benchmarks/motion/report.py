"""The lines of the comparison: what each program took and missed, ratios to Elcano, goals reached or not."""

import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch

from benchmarks.motion.cases import Case
from benchmarks.motion.gpu import least_seconds
from benchmarks.motion.judgement import Bounds, MotionTruth, field_error_px
from benchmarks.motion.programs import Attempt

GB = 1e9
SPEED_GOAL, ERROR_GOAL_BOUNDS, WORST_GOAL_PX, SPARE_GOAL_GB = 6.0, 1.3, 0.6, 1.5
GOALS = (
    f"goals: ≥ {SPEED_GOAL:g}× RELION's speed; error ≤ {ERROR_GOAL_BOUNDS:g} bounds (of 6 × 4 terms), worst point ≤ "
    f"{WORST_GOAL_PX:g} px; peak ≤ decoded movie + {SPARE_GOAL_GB:g} GB"
)


@dataclass(frozen=True)
class Row:
    """One program on one movie, judged; px, s, GB."""

    program: str
    seed: int
    wall_s: float
    cpu_s: float
    peak_gb: float
    error_px: float
    whole_frame_error_px: float | None
    worst_px: float
    bounds: Bounds
    attempt: Attempt


def judge(program: str, seed: int, attempt: Attempt, truth: MotionTruth, bounds: Bounds) -> Row:
    """Compare what a program found with the truth."""
    error_px, worst_px = field_error_px(attempt.motion_tyx2, truth.field_tyx2)
    whole_px = None
    if attempt.whole_frame_tyx2 is not None:
        whole_px, _ = field_error_px(attempt.whole_frame_tyx2, truth.field_tyx2)
    cost = attempt.cost
    return Row(
        program, seed, cost.wall_s, cost.cpu_s, cost.peak_bytes / GB, error_px, whole_px, worst_px, bounds, attempt
    )


def describe_machine() -> list[str]:
    """Say what is measured on."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    model = models[0].partition(":")[2].strip() if models else platform.machine()
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GB
    load = os.getloadavg()[0]
    busy = "" if load < 0.5 else f"; LOAD {load:.1f} AT THE START: other work shares the cores, times are worth little"
    cores, system = len(os.sched_getaffinity(0)), f"{platform.system()} {platform.release()}"
    return [
        f"machine: {model}, {cores} cores, {memory_gb:.0f} GB, {system}{busy}",
        f"versions: Python {sys.version.split()[0]}, torch {torch.__version__}, numpy {np.__version__}",
    ]


def bounds_line(bounds: Bounds) -> str:
    """Say the bounds of a movie."""
    return (
        f"  bounds: {bounds.whole_frame_px:.3f} px whole frame | {bounds.field_px:.3f} px with 6 × 4 local terms | "
        f"{bounds.fine_field_px:.3f} px with 12 × 4"
    )


def row_line(row: Row) -> str:
    """Say one result."""
    bounds = row.bounds
    whole = "" if row.whole_frame_error_px is None else f" ({row.whole_frame_error_px:.3f} without its local motion)"
    loading = f", loading {row.attempt.loading_s:.1f} s apart" if row.attempt.loading_s else ""
    expected = row.attempt.answer.get("expected_error_px")
    told = "" if expected is None else f"; it expects {expected:.3f}"
    return (
        f"  {row.program:10s} seed {row.seed}  {row.wall_s:7.1f} s  {row.cpu_s:7.1f} CPU-s  {row.peak_gb:5.2f} GB  "
        f"error {row.error_px:.3f} px = {row.error_px / bounds.whole_frame_px:.2f} | "
        f"{row.error_px / bounds.field_px:.2f} | {row.error_px / bounds.fine_field_px:.2f} bounds, "
        f"worst {row.worst_px:.2f} px{whole}{told}{loading}"
    )


def step_lines(row: Row, case: Case) -> list[str]:
    """Say where Elcano's time went; on a GPU beside the least that the bytes allow."""
    answer = row.attempt.answer
    if "steps_s" not in answer:
        return []
    lines = ["    steps: " + _steps(answer["steps_s"])]
    if answer.get("warning"):
        lines.append(f"    it warns: {answer['warning']}")
    if "memory_bytes_per_s" in answer:
        memory, upload = answer["memory_bytes_per_s"], answer["upload_bytes_per_s"]
        lines.append(
            f"    {answer['device']}: memory {memory / 1e12:.2f} TB/s, copies up {upload / GB:.1f} GB/s, measured"
        )
        lines.append("    at least (bytes ÷ bandwidth): " + _steps(least_seconds(case.decoded_bytes, memory, upload)))
    if "warm_s_per_movie" in answer:
        each_s = answer["warm_s_per_movie"]
        lines.append(f"    warm, read ahead and written behind: {each_s:.3f} s a movie, {3600 / each_s:.0f} movies/h")
        lines.append("    steps of the last of them: " + _steps(answer["warm_steps_s"]))
    return lines


def summary_lines(rows: Sequence[Row], case: Case) -> list[str]:
    """Compare every program with Elcano, movie by movie, and Elcano with its goals; medians over movies."""
    own = {row.seed: row for row in rows if row.program == "Elcano"}
    lines = []
    peers = list(dict.fromkeys(row.program for row in rows if row.program != "Elcano"))
    for peer in peers:
        pairs = [(row, own[row.seed]) for row in rows if row.program == peer and row.seed in own]
        if not pairs:
            continue
        ratios = {
            "time": median(theirs.wall_s / mine.wall_s for theirs, mine in pairs),
            "CPU time": median(theirs.cpu_s / mine.cpu_s for theirs, mine in pairs),
            "memory": median(theirs.peak_gb / mine.peak_gb for theirs, mine in pairs),
            "error": median(theirs.error_px / mine.error_px for theirs, mine in pairs),
            "worst point": median(theirs.worst_px / mine.worst_px for theirs, mine in pairs),
        }
        told = ", ".join(f"{name} {ratio:.2f}×" for name, ratio in ratios.items())
        lines.append(f"  {peer} / Elcano: {told}")
    if own:
        lines.append(_goal_line([*own.values()], [row for row in rows if row.program == "RELION"], case))
    return lines


def _goal_line(own: Sequence[Row], relion: Sequence[Row], case: Case) -> str:
    error_bounds = median(row.error_px / row.bounds.field_px for row in own)
    worst_px = max(row.worst_px for row in own)
    spare_gb = max(row.peak_gb for row in own) - case.decoded_bytes / GB
    told = [
        _reached("error", error_bounds, "bounds", error_bounds <= ERROR_GOAL_BOUNDS)
        if case.source == "specimen"
        else "error without a goal: the bounds take the micrograph's own noise for specimen, up to the last frequency",
        _reached("worst point", worst_px, "px", worst_px <= WORST_GOAL_PX),
        _reached("peak less decoded movie", spare_gb, "GB", spare_gb <= SPARE_GOAL_GB),
    ]
    wall_s = {row.seed: row.wall_s for row in own}
    speeds = [row.wall_s / wall_s[row.seed] for row in relion if row.seed in wall_s]
    if speeds:
        told.insert(0, _reached("speed", median(speeds), "× RELION's", median(speeds) >= SPEED_GOAL))
    return "  Elcano: " + "; ".join(told)


def _reached(name: str, value: float, unit: str, is_reached: bool) -> str:
    return f"{name} {value:.2f} {unit} ({'reached' if is_reached else 'NOT reached'})"


def _steps(steps_s: dict[str, float]) -> str:
    return ", ".join(f"{name} {seconds:.3f} s" for name, seconds in steps_s.items())
