"""What a report is made from: the answers of the store about one session, put in order."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import tzinfo
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from daemon.pipeline.gate import BY_HAND, Gate, Limits
from daemon.reports.questions import METRICS, Answer
from daemon.store.rows import decode_path

Numbers = npt.NDArray[np.float64]
"""Values in the order of the micrographs; NaN where there is none."""

_SET_ASIDE = frozenset({"ignored", "vanished", "superseded"})


@dataclass(frozen=True)
class Moment:
    """When and in which time zone a report is written, and whether it is renewed."""

    at_s: float
    zone: tzinfo
    renewed_every_s: float | None = None
    """Set while the page is kept up to date."""


@dataclass(frozen=True)
class SessionData:
    """One session as the store knows it."""

    answers: Mapping[str, Answer]
    limits: Limits
    gates: tuple[Gate, ...]
    moment: Moment
    note: str = ""
    """What a reader should know of where the numbers come from."""
    problems: list[str] = field(default_factory=list)
    """What could not be shown, and why; sections add to it as they are drawn."""

    def answer(self, name: str) -> Answer:
        """Return an answer, an empty one where it was not to be had."""
        return self.answers.get(name, Answer())

    @cached_property
    def facts(self) -> dict[str, Any]:
        """The session's own row."""
        return next(iter(self.answer("session")))

    @property
    def name(self) -> str:
        """Name of the session."""
        return str(self.facts["name"])

    @property
    def home(self) -> Path:
        """Where its results lie."""
        return decode_path(self.facts["home"])

    @cached_property
    def acquisition(self) -> Mapping[str, Any]:
        """How it was taken, as far as the session as a whole knows."""
        return dict(json.loads(self.facts["acquisition"]))

    @property
    def is_open(self) -> bool:
        """Whether more movies are expected."""
        return bool(self.facts["state"] == "open")

    @cached_property
    def micrographs(self) -> list[dict[str, Any]]:
        """Images that have a movie, by the time of its last write."""
        return list(self.answer("micrographs"))

    @cached_property
    def names(self) -> list[str]:
        """Names of the micrographs."""
        return [str(row["name"]) for row in self.micrographs]

    def numbers(self, column: str, table: str = "") -> Numbers:
        """Return a column of the micrographs, or of a stage's own numbers, as floats."""
        values = self._of_stage(table).get(column) if table else None
        if table and values is None:
            return np.full(len(self.micrographs), np.nan)
        found = values if values is not None else self.answer("micrographs").column(column)
        cells = [np.nan if value is None else float(value) for value in found]
        return np.asarray(cells or [np.nan] * len(self.micrographs), dtype=np.float64)

    def stage_tables(self) -> list[str]:
        """Names of the tables of stages' numbers that have rows."""
        return [name for name, answer in self.answers.items() if name.startswith(METRICS) and len(answer)]

    def _of_stage(self, table: str) -> Mapping[str, list[Any]]:
        if table not in self._aligned:
            answer = self.answer(table)
            images = answer.column("image_id")
            rows = dict(zip(images, answer.rows, strict=True))
            empty = [None] * len(answer.columns)
            aligned = [rows.get(row["image_id"], empty) for row in self.micrographs]
            self._aligned[table] = {name: [row[index] for row in aligned] for index, name in enumerate(answer.columns)}
        return self._aligned[table]

    @cached_property
    def _aligned(self) -> dict[str, Mapping[str, list[Any]]]:
        return {}

    def stage_column(self, table: str, column: str) -> list[Any]:
        """Return a column of a stage's own numbers in the order of the micrographs; None where there is none."""
        return self._of_stage(table).get(column, [None] * len(self.micrographs))

    @cached_property
    def passes(self) -> list[bool | None]:
        """What the gates say of each micrograph, or the person who decided over them."""
        return [row["passes"] for row in self.micrographs]

    @property
    def accepted_by_hand(self) -> int:
        """How many micrographs a person lets pass, whatever the gates say."""
        return sum(row["passes"] is True and row["gate"] == BY_HAND for row in self.micrographs)

    @cached_property
    def movie_states(self) -> dict[str, int]:
        """How many movies are in each state; those of files that stand for no exposure are not counted."""
        counts: dict[str, int] = {}
        for row in self.answer("movies"):
            if row["state"] not in _SET_ASIDE:
                counts[row["state"]] = counts.get(row["state"], 0) + row["count"]
        return counts

    @property
    def partly_cancelled(self) -> int:
        """How many movies are done of which a step was cancelled."""
        return sum(row["movies"] for row in self.answer("partly_cancelled"))

    @cached_property
    def decisions(self) -> dict[str, Any]:
        """What was decided once for the session."""
        return {row["key"]: json.loads(row["value"]) for row in self.answer("decisions")}
