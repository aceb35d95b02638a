"""Filter, sort and search: pure functions from rows to index arrays."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tui.core.matrix import Matrix
from tui.core.states import NO_TASK, TASK_STATES, show_task

_WORDS = {**{state: code for code, state in enumerate(TASK_STATES)}, "waiting": 0, "done": 2}


@dataclass(frozen=True)
class Filter:
    """What was typed after `/`: words that must occur, and `stage:state` or `:state` conditions; all must hold.

    A condition with `-` before it must not hold.
    """

    words: tuple[str, ...] = ()
    conditions: tuple[tuple[str, str, bool], ...] = ()

    @classmethod
    def parse(cls, typed: str) -> "Filter":
        """Read what was typed; anything is a filter."""
        words, conditions = [], []
        for part in typed.lower().split():
            stage, colon, state = part.lstrip("-").partition(":")
            if colon and state:
                conditions.append((stage, state, part.startswith("-")))
            else:
                words.append(part.rstrip(":"))
        return cls(tuple(words), tuple(conditions))

    @property
    def is_empty(self) -> bool:
        """Whether everything passes."""
        return not (self.words or self.conditions)

    def matches_text(self, text: str) -> bool:
        """Whether every word occurs."""
        lowered = text.lower()
        return all(word in lowered for word in self.words)


def select_rows(
    count: int,
    *,
    keep: Callable[[int], bool] | None = None,
    sort_by: Callable[[int], Any] | None = None,
    descending: bool = False,
) -> list[int]:
    """Return the rows to show, in order; rows whose key is None come last either way, equal keys keep their order."""
    rows: Iterable[int] = range(count) if keep is None else (row for row in range(count) if keep(row))
    if sort_by is None:
        ordered = list(rows)
        return ordered[::-1] if descending else ordered
    known, unknown = [], []
    for row in rows:
        key = sort_by(row)
        if key is None:
            unknown.append(row)
        else:
            known.append((key, row))
    known.sort(key=lambda pair: pair[0], reverse=descending)
    return [row for _, row in known] + unknown


def filter_matrix(matrix: Matrix, chosen: Filter) -> Callable[[int], bool]:
    """Return the test of a row: names and reasons have the words, stages the states."""
    wanted = [(_columns(matrix, stage), _codes(state), negated) for stage, state, negated in chosen.conditions]

    def keep(row: int) -> bool:
        if not matrix.is_shown(row):
            return False
        if chosen.words and not chosen.matches_text(f"{matrix.names[row]} {matrix.reason(row)}"):
            return False
        return all(
            any(matrix.columns[column].states[row] in codes for column in columns) is not negated
            for columns, codes, negated in wanted
        )

    return keep


def sort_matrix(matrix: Matrix, key: str) -> Callable[[int], Any] | None:
    """Return what rows are sorted by: `name`, `reason`, or a stage (failed first, then what runs, then the rest)."""
    if key == "name":
        return lambda row: matrix.names[row]
    if key == "reason":
        return lambda row: matrix.reason(row) or None
    if key in matrix.stages:
        states = matrix.columns[matrix.stages.index(key)].states
        return lambda row: None if states[row] == NO_TASK else _URGENCY[states[row]]
    return None


_URGENCY = (3, 1, 5, 0, 4, 2)
"""By wire code: failed, running, skipped, waiting, cancelled, done."""


def _columns(matrix: Matrix, named: str) -> list[int]:
    """Return the columns that a part of a stage's name means; all when none is named."""
    return [number for number, stage in enumerate(matrix.stages) if named in stage]


def _codes(named: str) -> frozenset[int]:
    """Return the wire codes of the states whose name or word begins so."""
    return frozenset(code for word, code in _WORDS.items() if word.startswith(named)) | frozenset(
        code for code in range(len(TASK_STATES)) if show_task(code).word.startswith(named)
    )


def find_next(
    rows: Sequence[int], start: int, matches: Callable[[int], bool], *, backwards: bool = False
) -> int | None:
    """Return the position of the next row that matches, going around; None where there is none."""
    count = len(rows)
    step = -1 if backwards else 1
    for offset in range(1, count + 1):
        position = (start + step * offset) % count
        if matches(rows[position]):
            return position
    return None
