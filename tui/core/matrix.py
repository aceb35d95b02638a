"""Images by stages: the state of every task of one job, in columns, so that ten thousand images cost little."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from daemon.messages.panel import MatrixAnswer
from tui.core.jobs import StepCount
from tui.core.states import (
    CANCELLED,
    COMPLETED,
    FAILED,
    NO_TASK,
    NOT_WHOLE,
    PENDING,
    RUNNING,
    SKIPPED,
    Shown,
    show_task,
)

LEFT_ALONE = frozenset({"superseded", "vanished", "ignored"})
"""States of movies that stand for no exposure any more: their rows are not shown."""


@dataclass(frozen=True)
class Cell:
    """One task of an image."""

    task_id: str
    state: int
    attempts: int
    reason: str


@dataclass
class Column:
    """One stage: what every row owes it."""

    stage: str
    states: bytearray = field(default_factory=bytearray)
    task_ids: list[str] = field(default_factory=list)
    attempts: list[int] = field(default_factory=list)
    reasons: dict[int, str] = field(default_factory=dict)

    def grow(self) -> None:
        """Add a row without a task."""
        self.states.append(NO_TASK)
        self.task_ids.append("")
        self.attempts.append(0)


class Matrix:
    """What is known of the tasks of one job; a row keeps its place for as long as the matrix lives."""

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        self.seq: int | None = None
        """How far the daemon's history was read; None before the first answer."""
        self.session = ""
        self.columns: list[Column] = []
        self.image_ids: list[str] = []
        self.names: list[str] = []
        self.movie_states: list[str] = []
        self.progress: dict[str, float] = {}
        """Percent by task, for those that run."""
        self.not_whole: dict[int, str] = {}
        """What the watcher says, by row, of movies that wait to be whole."""
        self._row_of: dict[str, int] = {}
        self._place_of: dict[str, tuple[int, int]] = {}

    def __len__(self) -> int:
        return len(self.names)

    @property
    def stages(self) -> list[str]:
        """Names of the columns."""
        return [column.stage for column in self.columns]

    def take(self, answer: MatrixAnswer) -> set[int]:
        """Take an answer, whole or of what has changed, and return the rows that it renewed."""
        if self.stages != answer.stages:
            self._set_stages(answer.stages)
        self.session, self.seq = answer.session, answer.seq
        renewed = set()
        for image_id, name, movie_state, cells in answer.images:
            row = self._row_of.get(image_id)
            if row is None:
                row = self._add(image_id)
            self.names[row], self.movie_states[row] = name, movie_state
            for number, (column, told) in enumerate(zip(self.columns, cells, strict=True)):
                self._put(column, number, row, None if told is None else Cell(*told))
            renewed.add(row)
        waits = {self._row_of[image_id]: why for image_id, why in answer.not_whole.items() if image_id in self._row_of}
        renewed |= {row for row in waits.keys() | self.not_whole.keys() if waits.get(row) != self.not_whole.get(row)}
        self.not_whole = waits
        return renewed

    def put_progress(self, task_id: str, percent: float) -> int | None:
        """Note how far a task is; return its row, None where it is not of this job."""
        place = self._place_of.get(task_id)
        if place is None:
            return None
        self.progress[task_id] = percent
        return place[0]

    def cell(self, row: int, stage: int) -> Cell | None:
        """Return the task of a row at a stage, None where it owes none."""
        column = self.columns[stage]
        if column.states[row] == NO_TASK:
            return None
        return Cell(column.task_ids[row], column.states[row], column.attempts[row], column.reasons.get(row, ""))

    def place_of(self, task_id: str) -> tuple[int, int] | None:
        """Return row and stage of a task."""
        return self._place_of.get(task_id)

    def is_shown(self, row: int) -> bool:
        """Whether a row stands for an exposure."""
        return self.movie_states[row] not in LEFT_ALONE

    def reason(self, row: int) -> str:
        """Why the first stage that did not succeed did not, or why none is begun."""
        if row in self.not_whole:
            return f"not whole yet: {self.not_whole[row]}"
        return next((column.reasons[row] for column in self.columns if row in column.reasons), "")

    @property
    def has_reasons(self) -> bool:
        """Whether any row has a reason."""
        return bool(self.not_whole) or any(column.reasons for column in self.columns)

    def show(self, row: int, stage: int) -> Shown:
        """How a task looks."""
        state = self.columns[stage].states[row]
        return NOT_WHOLE if state == PENDING and row in self.not_whole else show_task(state)

    def tasks(self, rows: Iterable[int], states: Iterable[int], stages: Sequence[int] | None = None) -> list[str]:
        """Return the ids of tasks of these rows that are in one of these states."""
        wanted = frozenset(states)
        columns = self.columns if stages is None else [self.columns[number] for number in stages]
        return [column.task_ids[row] for row in rows for column in columns if column.states[row] in wanted]

    def counts(self) -> dict[str, StepCount]:
        """Return how many tasks of each stage are in each state."""
        shown = bytes(self.is_shown(row) for row in range(len(self)))
        counted = {}
        for column in self.columns:
            states = bytes(state if seen else NO_TASK for state, seen in zip(column.states, shown, strict=True))
            counted[column.stage] = StepCount(
                done=states.count(COMPLETED),
                running=states.count(RUNNING),
                failed=states.count(FAILED),
                skipped=states.count(SKIPPED),
                cancelled=states.count(CANCELLED),
                waiting=states.count(PENDING),
            )
        return counted

    def _set_stages(self, stages: Sequence[str]) -> None:
        known: Mapping[str, Column] = {column.stage: column for column in self.columns}
        self.columns = [known.get(stage) or self._new_column(stage) for stage in stages]
        self._place_of = {
            task_id: (row, number)
            for number, column in enumerate(self.columns)
            for row, task_id in enumerate(column.task_ids)
            if task_id
        }

    def _new_column(self, stage: str) -> Column:
        column = Column(stage)
        for _ in self.names:
            column.grow()
        return column

    def _add(self, image_id: str) -> int:
        row = self._row_of[image_id] = len(self.names)
        self.image_ids.append(image_id)
        self.names.append("")
        self.movie_states.append("")
        for column in self.columns:
            column.grow()
        return row

    def _put(self, column: Column, number: int, row: int, cell: Cell | None) -> None:
        before = column.task_ids[row]
        if before and (cell is None or cell.task_id != before):
            self._place_of.pop(before, None)
            self.progress.pop(before, None)
        column.reasons.pop(row, None)
        if cell is None:
            column.states[row], column.task_ids[row], column.attempts[row] = NO_TASK, "", 0
            return
        column.states[row], column.task_ids[row], column.attempts[row] = cell.state, cell.task_id, cell.attempts
        self._place_of[cell.task_id] = (row, number)
        if cell.reason:
            column.reasons[row] = cell.reason
        if cell.state != RUNNING:
            self.progress.pop(cell.task_id, None)
