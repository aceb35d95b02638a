"""One job: images by stages."""

from collections.abc import Sequence
from typing import ClassVar

import msgspec
from textual.app import ComposeResult

from daemon.errors import ElcanoError
from daemon.messages.panel import MatrixAnswer
from tui.core.calling import session_pieces
from tui.core.jobs import Job, StepCount
from tui.core.matrix import Cell, Matrix
from tui.core.model import Changes
from tui.core.selection import Filter, filter_matrix, find_next, select_rows, sort_matrix
from tui.core.spans import count_of, show_rate, show_span
from tui.core.states import CANCELLED, FAILED, PENDING, RUNNING, show_job
from tui.core.text import show_end, show_line, show_start
from tui.screens.acting import cancel_tasks, rerun_stage, retry_tasks, toggle_pause
from tui.screens.table_screen import TableScreen
from tui.widgets.bars import count_bar, count_words
from tui.widgets.filter_bar import FilterBar
from tui.widgets.line_table import LineTable, TableColumn
from tui.widgets.lines import Lines
from tui.widgets.tones import Piece, state_pieces

_CELL = 12
_REASON = 80
_REFRESH_S = 0.5
"""At most so often the daemon is asked what has moved."""
_POLL_S = 5.0
"""No event tells what the watcher says of a movie that is not whole yet."""


class JobScreen(TableScreen):
    """The tasks of one job. What they are is asked of the daemon, whole at first, then what has moved since."""

    NAME = "job"
    NOUN: ClassVar[str] = "image"

    def __init__(self, job_id: str) -> None:
        super().__init__()
        self.job_id = job_id
        self._is_asking = False
        self._is_outdated = False
        self._name_width = 20

    @property
    def matrix(self) -> Matrix:
        """What is known of the tasks."""
        return self.model.matrix(self.job_id)

    @property
    def job(self) -> Job | None:
        """The job's summary."""
        return self.model.jobs.get(self.job_id)

    def compose_body(self) -> ComposeResult:
        """The job's line above, rows below."""
        yield Lines(self._headline, fit=True, id="headline")
        yield FilterBar("words of name or reason, ctf:failed, :running, -:done")
        yield LineTable(self._cell, cells=True)
        yield Lines(self._footline, fit=True, id="footline")

    def on_mount(self) -> None:
        """Look again from time to time where movies are not whole yet."""
        self.set_interval(_POLL_S, self._poll)

    def order(self) -> Sequence[int]:
        """As they were first seen, unless sorted otherwise."""
        matrix = self.matrix
        keep = filter_matrix(matrix, Filter.parse(self.typed))
        return select_rows(
            len(matrix), keep=keep, sort_by=sort_matrix(matrix, self.sort_key), descending=self.sort_descending
        )

    def sort_keys(self) -> Sequence[str]:
        """Every column."""
        return ["name", *self.matrix.stages, "reason"]

    def draw_changes(self, changes: Changes) -> None:
        """Ask what has moved, if anything did; draw progress."""
        if self.job_id in changes.jobs_moved:
            self._ask()
        places = [place for task in changes.tasks if (place := self.matrix.place_of(task)) is not None]
        self.table.touch(row for row, _ in places)
        if changes.queues or changes.job_rows:
            self.draw_state()

    def draw_all(self) -> None:
        """Draw what is known, and ask for all of it."""
        self._draw_matrix(None)
        self.matrix.seq = None
        self._ask()

    def draw_time(self) -> None:
        """Draw times to come."""
        self.query_one("#headline", Lines).draw()

    def draw_state(self) -> None:
        """Draw the lines around the table."""
        self.query_one("#headline", Lines).draw()
        self.query_one("#footline", Lines).draw()

    def cursor_cell(self) -> Cell | None:
        """Return the task under the cursor; on the column of reasons, the first that failed."""
        row, stage = self.table.cursor_row, self.cursor_stage
        if row is None:
            return None
        matrix = self.matrix
        if stage is not None:
            return matrix.cell(row, stage)
        cells = [matrix.cell(row, number) for number in range(len(matrix.columns))]
        known = [cell for cell in cells if cell is not None]
        return next((cell for cell in known if cell.state == FAILED), known[0] if known else None)

    @property
    def cursor_stage(self) -> int | None:
        """Number of the stage under the cursor; None on the column of reasons."""
        stages, key = self.matrix.stages, self.table.cursor_column
        return stages.index(key) if key in stages else None

    def do_open(self) -> None:
        """Open the task under the cursor."""
        cell = self.cursor_cell()
        if cell is None:
            self.tell("This image owes that stage nothing.")
            return
        from tui.screens.task import TaskScreen  # noqa: PLC0415

        self.app.push_screen(TaskScreen(cell.task_id))

    def do_search_next(self) -> None:
        """Go to the next row that has failed."""
        self._search(backwards=False)

    def do_search_previous(self) -> None:
        """Go to the row before that has failed."""
        self._search(backwards=True)

    def do_retry(self) -> None:
        """Run again what failed or was cancelled of the selection, or of the row under the cursor."""
        rows = self.table.chosen()
        retry_tasks(self, self.matrix.tasks(rows, self._states(rows, (FAILED, CANCELLED))), self._names(rows))

    def do_cancel(self) -> None:
        """Give up what waits or runs of the selection, or the task under the cursor."""
        rows = self.table.chosen()
        stage = None if self.table.rows.selected or self.cursor_stage is None else [self.cursor_stage]
        cancel_tasks(self, self.matrix.tasks(rows, (PENDING, RUNNING), stage), self._names(rows))

    def do_rerun(self) -> None:
        """Run the stage under the cursor again, with other parameters."""
        stage, rows = self.cursor_stage, self.table.chosen()
        if stage is None or not rows:
            self.tell("Move the cursor to the stage that is to run again.")
            return
        rerun_stage(self, self.matrix.stages[stage], self.matrix.session, self._names(rows))

    def do_pause(self) -> None:
        """Pause the stage under the cursor, for this session."""
        job, stage = self.job, self.cursor_stage
        if job is None or stage is None:
            self.tell("Move the cursor to the stage that is to be paused.")
            return
        toggle_pause(self, self.matrix.stages[stage], job.summary.session_id, job.called)

    def _states(self, rows: Sequence[int], states: tuple[int, ...]) -> tuple[int, ...]:
        """Of rows in which something failed, only that: what was cancelled there is another matter."""
        return states if not self.matrix.tasks(rows, (FAILED,)) else (FAILED,)

    def _names(self, rows: Sequence[int]) -> list[str]:
        return [self.matrix.names[row] for row in rows]

    def _search(self, *, backwards: bool) -> None:
        table, matrix = self.table, self.matrix
        stage = self.cursor_stage
        columns = matrix.columns if stage is None else [matrix.columns[stage]]
        position = find_next(
            table.rows.order,
            table.rows.place,
            lambda row: any(column.states[row] == FAILED for column in columns),
            backwards=backwards,
        )
        if position is None:
            self.tell("No row that is shown has failed there.")
        else:
            table.move_to(position)

    def _ask(self) -> None:
        """Ask what has moved, one question at a time, and not too often."""
        if self._is_asking:
            self._is_outdated = True
            return
        self._is_asking, self._is_outdated = True, False
        self.run_beside(self._renew, group="matrix")

    async def _renew(self) -> None:
        try:
            data = await self.terminal.link.ask("matrix", {"job_id": self.job_id, "after": self.matrix.seq})
            if self.is_ready:
                self._draw_matrix(self.matrix.take(msgspec.convert(data, MatrixAnswer)))
        except ElcanoError as error:
            if self.model.link.is_connected:
                self.tell(str(error), is_trouble=True)
        finally:
            if self.is_ready:
                self.set_timer(_REFRESH_S, self._ask_again)

    def _poll(self) -> None:
        if self.matrix.not_whole and self.app.screen is self and self.model.link.is_connected:
            self._ask()

    def _ask_again(self) -> None:
        self._is_asking = False
        if self._is_outdated:
            self._ask()

    def _draw_matrix(self, touched: set[int] | None) -> None:
        matrix = self.matrix
        width = max([20, *(len(name) for name in matrix.names[:200])])
        self._name_width = min(width, max(16, self.size.width // 3))
        fixed = TableColumn("name", "image", self._name_width, fixed=True)
        stages = [TableColumn(stage, stage, max(_CELL, len(stage) + 1)) for stage in matrix.stages]
        asked = "asking…" if self.model.link.is_connected else ""
        self.table.empty = "No image yet." if matrix.seq is not None else asked
        self.table.set_columns([fixed, *stages, TableColumn("reason", "why not", _REASON)])
        self.draw_rows(touched)
        self.draw_state()

    def _cell(self, row: int, key: str) -> Sequence[Piece]:
        matrix = self.matrix
        if key == "name":
            return [(show_end(matrix.names[row], self._name_width), "plain")]
        if key == "reason":
            return [(show_line(matrix.reason(row), 200), "dim")]
        stage = matrix.stages.index(key)
        column, looks = matrix.columns[stage], matrix.show(row, stage)
        percent = matrix.progress.get(column.task_ids[row]) if column.states[row] == RUNNING else None
        if percent is not None:
            return [(f"{looks.sign} {percent:.0f} %", "running")]
        again = f" ({column.attempts[row]}×)" if column.attempts[row] > 1 else ""
        return [*state_pieces(looks), (again, "dim")]

    def _headline(self, width: int) -> Sequence[Sequence[Piece]]:
        job, now_s = self.job, self.terminal.stood_s()
        if job is None:
            return [[(f" job {show_line(self.job_id, 60)}", "strong")]]
        shown = show_job(job.state)
        first: list[Piece] = [
            (" ", "plain"),
            *session_pieces(job.summary.title, job.session),
            (f"  {job.summary.kind}  ", "dim"),
            (str(shown), shown.tone),
            (f"  elapsed {show_span(job.elapsed_s(now_s))}", "plain"),
        ]
        if job.total.left:
            rate = job.images_per_second(now_s)
            pace = "measuring the pace" if rate is None else f"{show_rate(rate)} movies/h"
            first.append((f"  ETA {show_span(job.left_s(now_s))}  {pace}", "plain"))
        bar = max(10, min(50, width - 60))
        return [first, [(" ", "plain"), *count_bar(job.total, bar), (" ", "plain"), *count_words(job.total)]]

    def _footline(self, width: int) -> Sequence[Sequence[Piece]]:
        shown, every = len(self.table.rows.order), sum(map(self.matrix.is_shown, range(len(self.matrix))))
        whole = count_of(every, "image")
        words: list[Piece] = [(f" {whole}" if shown == every else f" {shown} of {whole}", "plain")]
        if self.matrix.seq is None:
            words.append((" asking…", "dim"))
        if self.typed:
            words.append((f"  filter: {show_line(self.typed, 60)}", "warning"))
        if self.sort_key:
            words.append((f"  by {self.sort_key}", "dim"))
        if selected := self.chosen_words():
            words.append((f"  {selected}", "warning"))
        stage = self.cursor_stage
        if stage is not None:
            name = self.matrix.stages[stage]
            job = self.job
            count = job.steps.get(name, StepCount()) if job else StepCount()
            words += [(f"   {name}: ", "plain"), *count_words(count)]
            session_id = job.summary.session_id if job else ""
            if pause := self.model.pause_of(session_id, name) or self.model.pause_of(None, name):
                words.append((f"  ‖ paused by {show_line(pause['asked_by'], 60)}", "warning"))
        lines = [words]
        if self.matrix.has_reasons:
            # The column of reasons may lie beyond the right edge; the line stays, so that the table does not jump.
            row = self.table.cursor_row
            reason = "" if row is None else self.matrix.reason(row)
            lines.append([(f" {show_start(reason, width - 2)}", "dim")])
        return lines
