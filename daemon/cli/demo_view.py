"""What the demo shows: bars while it runs, then a table of results against the truth."""

import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from enum import StrEnum
from itertools import takewhile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import anyio
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from daemon.domain.states import MovieState
from daemon.exchange.relion.motion import read_motion
from daemon.formats.star import read_star
from daemon.simulator.comparison import drift_ang, motion_error_px
from daemon.simulator.truth import TrueMovie, read_truth
from daemon.store import metrics, sessions
from daemon.store.store import Store

_PLAIN_EVERY_S = 5.0
"""At most so often a line elsewhere than on a terminal, and only when a number has changed…"""
_PLAIN_SILENCE_S = 30.0
"""…or after so long."""
_NAMES = {
    "motion_correction": "motion",
    "ctf_estimation": "CTF",
    "fft": "Thon rings",
    "thumbnail": "thumbnails",
}
_WIDTH = 150
"""Columns that show whole names."""
_LARGEST_DEFOCUS_ERROR_ANG = 300.0
"""Of the mean of U and V; each of them may be off by twice as much, as astigmatism is harder to see."""
_LARGEST_MOTION_ERROR_PX = 1.0


class Verdict(StrEnum):
    """How a result compares with the truth."""

    AGREES = "agrees"
    UNSURE = "CTF too faint, and said so"
    WRONG = "wrong"


class DemoView:
    """Live bars on a terminal, a line now and then elsewhere; afterwards the table."""

    def __init__(
        self,
        store: Store,
        session: str,
        movies: int,
        *,
        stages: tuple[str, ...],
        is_plain: bool,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._session = session
        self._movies = movies
        self._stages = stages
        self._console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._is_plain = is_plain or not self._console.is_terminal
        self._progress = Progress(*columns, console=self._console, disable=self._is_plain)
        self._bars: dict[str, TaskID] = {}
        self._clock_s = clock_s
        self._started_s = clock_s()
        self._said_s = float("-inf")
        self._said = ""
        self._session_id = ""

    def __enter__(self) -> Self:
        for name in ("arrived", *self._stages):
            self._bars[name] = self._progress.add_task(_NAMES.get(name, name), total=self._movies)
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    async def is_finished(self) -> bool:
        """Whether every movie of the session was seen and has its final state."""
        if not self._session_id:
            known = [row.session for row in await sessions.sessions(self._store)]
            self._session_id = next((s.session_id for s in known if s.name == self._session), "")
        counts = self._store.count_movies(self._session_id) if self._session_id else {}
        settled = sum(n for state, n in counts.items() if state.is_terminal and state is not MovieState.IGNORED)
        return settled >= self._movies

    def update(self) -> None:
        """Draw how far everything is."""
        done = dict.fromkeys(self._stages, 0)
        for (_, stage), counts in self._store.count_tasks().items():
            done[stage] = done.get(stage, 0) + sum(n for state, n in counts.items() if state.is_terminal)
        arrived = max((self._total_tasks(stage) for stage in self._stages), default=0)
        for name, count in {"arrived": arrived, **done}.items():
            self._progress.update(self._bars[name], completed=count)
        waits = "arrived" if arrived else "arrived (the first is being simulated)"
        self._progress.update(self._bars["arrived"], description=waits)
        parts = [f"{_NAMES.get(stage, stage)} {count}/{self._movies}" for stage, count in done.items()]
        if self._is_plain:
            self._say(
                f"arrived {arrived}/{self._movies}, {', '.join(parts)}",
                is_last=min(done.values(), default=0) >= self._movies,
            )

    def _say(self, numbers: str, *, is_last: bool) -> None:
        now_s = self._clock_s()
        silent_s = now_s - self._said_s
        is_due = silent_s >= _PLAIN_EVERY_S or is_last
        if (numbers != self._said and is_due) or silent_s >= _PLAIN_SILENCE_S:
            self._said, self._said_s = numbers, now_s
            print(f"{now_s - self._started_s:5.0f} s  {numbers}", file=sys.stderr, flush=True)

    def show_results(self, raw_directory: Path, home: Path) -> bool:
        """Print the table of micrographs and where their pictures are.

        True when nothing is missing or wrong, and at least half of the movies had enough to agree with the truth.
        """
        rows = anyio.run(self._rows)
        _, truth = read_truth(raw_directory / "truth.json")
        table = Table(title=f"{self._session}: measured (in brackets: the difference from the truth)")
        for heading in ("micrograph", "drift Å", "motion error px", "defocus U Å", "V Å", "fit to Å", "verdict"):
            table.add_column(heading, justify="left" if heading in {"micrograph", "verdict"} else "right")
        verdicts: Counter[Verdict] = Counter()
        console = Console(width=None if sys.stdout.isatty() else _WIDTH)
        names = [str(row["name"]) for row in rows]
        for row, name in zip(rows, names if console.width >= _WIDTH else cut_common(names), strict=True):
            cells, verdict = _compare(row, truth.get(str(row["name"])), home)
            verdicts[verdict] += 1
            table.add_row(*(Text(cell) for cell in (name, *cells)))
        console.print(table)
        summary = [f"{verdicts[Verdict.AGREES]} of {self._movies} agree with the truth"]
        if verdicts[Verdict.UNSURE]:
            summary.append(f"{verdicts[Verdict.UNSURE]} too faint for a CTF to be trusted, which was told")
        if verdicts[Verdict.WRONG]:
            summary.append(f"{verdicts[Verdict.WRONG]} wrong")
        if len(rows) < self._movies:
            summary.append(f"{self._movies - len(rows)} without a result (elcano query lists them under failures)")
        console.print(f"{'; '.join(summary)}; {self._clock_s() - self._started_s:.0f} s", highlight=False)
        for name, pattern in (("motion", "motioncor/*_motion.png"), ("CTF", "ctf/*_ctf.png"), ("rings", "fft/*.png")):
            console.print(f"{name}: {home / pattern}", highlight=False, soft_wrap=True)
        console.print(f"thumbnails: {home / 'thumbnails/*.jpg'}", highlight=False, soft_wrap=True)
        is_whole = len(rows) == self._movies and not verdicts[Verdict.WRONG]
        return is_whole and 2 * verdicts[Verdict.AGREES] >= self._movies

    def _total_tasks(self, stage: str) -> int:
        counted = self._store.count_tasks()
        return sum(sum(counts.values()) for (_, name), counts in counted.items() if name == stage)

    async def _rows(self) -> list[dict[str, Any]]:
        """Return every image that has a task, with the figures of its stages."""
        motion = await metrics.stage_rows(self._store, "motion_correction", self._session_id)
        ctf = {
            row["image_id"]: row for row in await metrics.stage_rows(self._store, "ctf_estimation", self._session_id)
        }
        return [{**row, **ctf.get(row["image_id"], {})} for row in motion]


def cut_common(names: Sequence[str]) -> list[str]:
    """Leave out the parts, between underscores, that all names begin with: what tells them apart stays."""
    parts = [name.split("_") for name in names]
    shared = sum(1 for _ in takewhile(lambda same: len(set(same)) == 1, zip(*parts, strict=False)))
    return ["…" + "_".join(each[shared:]) if 0 < shared < len(each) else "_".join(each) for each in parts]


def _compare(row: dict[str, Any], truth: TrueMovie | None, home: Path) -> tuple[list[str], Verdict]:
    name = str(row["name"])
    if truth is None:
        return ["", "", "", "", "", "not in truth.json"], Verdict.WRONG
    pixel_ang = float(row["pixel_size_ang"])
    error_px = motion_error_px(read_motion(read_star(home / "motioncor" / f"{name}_motion.star")), truth)
    measured_ang = row["total_motion_ang"]
    off_ang = 0.0 if measured_ang is None else measured_ang - drift_ang(truth, pixel_ang)
    drift = "none" if measured_ang is None else f"{measured_ang:.1f} ({off_ang:+.1f})"
    cells = [drift, f"{error_px:.2f}"]
    errors_ang = []
    for key in ("defocus_u_ang", "defocus_v_ang"):
        measured, true = row.get(key), getattr(truth, key)
        errors_ang.append(float("nan") if measured is None or true is None else measured - true)
        cells.append("none" if measured is None else f"{measured:.0f} ({errors_ang[-1]:+.0f})")
    resolution = row.get("fit_resolution_ang")
    cells.append("none" if resolution is None else f"{resolution:.1f}")
    if not error_px <= _LARGEST_MOTION_ERROR_PX:
        return [*cells, "motion off"], Verdict.WRONG
    if not row.get("confident"):
        return [*cells, Verdict.UNSURE.value], Verdict.UNSURE
    is_near = abs(np.mean(errors_ang)) <= _LARGEST_DEFOCUS_ERROR_ANG
    if not (is_near and np.abs(errors_ang).max() <= 2 * _LARGEST_DEFOCUS_ERROR_ANG):
        return [*cells, "defocus off"], Verdict.WRONG
    return [*cells, Verdict.AGREES.value], Verdict.AGREES
