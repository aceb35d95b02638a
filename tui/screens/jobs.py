"""Jobs: one line each, and the steps of the one under the cursor."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

from textual.app import ComposeResult

from tui.core.calling import session_pieces
from tui.core.jobs import Job, StepCount
from tui.core.model import Changes
from tui.core.selection import Filter, select_rows
from tui.core.spans import count_of, show_moment, show_rate, show_span
from tui.core.states import Shown, show_job
from tui.core.text import show_line
from tui.screens.table_screen import TableScreen
from tui.widgets.bars import count_bar, count_words
from tui.widgets.filter_bar import FilterBar
from tui.widgets.line_table import LineTable, TableColumn
from tui.widgets.lines import Lines
from tui.widgets.tones import Piece, state_pieces

_BAR = 14
_STEP_BAR = 8
_NO_JOBS = "No session has been imported yet: `elcano import DIR`, or a session.json under a watched root, brings one."
_NONE_PASSES = "No job passes the filter: Esc drops it."
_COLUMNS = (
    TableColumn("state", "state", 12, fixed=True),
    TableColumn("session", "session", 20, fixed=True),
    TableColumn("all", "all steps", _BAR + 5),
    TableColumn("failed", "failed", 6, right=True),
    TableColumn("left", "ETA", 7, right=True),
    TableColumn("rate", "movies/h", 8, right=True),
    TableColumn("elapsed", "elapsed", 8, right=True),
    TableColumn("started", "started", 11),
)


class JobsScreen(TableScreen):
    """The panel of jobs."""

    NAME = "jobs"
    FOLLOWS = True
    NOUN: ClassVar[str] = "job"

    def compose_body(self) -> ComposeResult:
        """Rows above, steps below."""
        yield FilterBar("session, kind or state")
        yield LineTable(self._cell)
        yield Lines(self._details, fit=True, id="steps")

    def order(self) -> Sequence[int]:
        """Newest first, unless sorted otherwise."""
        chosen = Filter.parse(self.typed)
        jobs = self.model.jobs.rows

        def keep(row: int) -> bool:
            job = jobs[row]
            return chosen.matches_text(f"{job.called} {job.summary.kind} {show_job(job.state).word}") and all(
                show_job(job.state).word.startswith(state) is not negated for _, state, negated in chosen.conditions
            )

        turned = self.sort_descending if self.sort_key else not self.sort_descending
        return select_rows(len(jobs), keep=keep, sort_by=self._key, descending=turned)

    def sort_keys(self) -> Sequence[str]:
        """Every column of the job itself."""
        return list(_KEYS)

    def draw_changes(self, changes: Changes) -> None:
        """Draw the rows whose jobs moved."""
        if changes.job_rows:
            self._draw_columns()
            self.draw_rows(changes.job_rows)
            self.draw_state()
        elif changes.queues:
            self.draw_all()

    def draw_time(self) -> None:
        """Draw elapsed times."""
        self.draw_rows()
        self.draw_state()

    def draw_all(self) -> None:
        """Draw everything."""
        self._draw_columns()
        self.draw_rows()
        self.draw_state()

    def draw_rows(self, touched: Iterable[int] | None = None) -> None:
        """Say, where no job is shown, why."""
        none = _NO_JOBS if self.model.link.is_connected else ""
        self.table.empty = _NONE_PASSES if len(self.model.jobs) else none
        super().draw_rows(touched)

    def draw_state(self) -> None:
        """Draw the steps of the job under the cursor."""
        self.query_one(Lines).draw()

    def chosen_jobs(self) -> list[Job]:
        """Return the jobs that an action is about."""
        return [self.model.jobs.rows[row] for row in self.table.chosen()]

    def do_open(self) -> None:
        """Open the job under the cursor."""
        row = self.table.cursor_row
        if row is not None:
            from tui.screens.job import JobScreen  # noqa: PLC0415

            self.app.push_screen(JobScreen(self.model.jobs.rows[row].job_id))

    def do_retry(self) -> None:
        """Run the failed tasks of the chosen jobs again."""
        jobs = [job for job in self.chosen_jobs() if job.total.failed]
        count = sum(job.total.failed for job in jobs)
        if not count:
            self.tell("Nothing of that has failed.")
            return
        self.confirm(
            f"Run {count_of(count, 'failed task')} of {count_of(len(jobs), 'session')} again?",
            [f"{job.called}: {job.total.failed} failed" for job in jobs],
            lambda: self._each(jobs, "task.retry", "session", lambda data: f"{data['tasks']} task(s) will run again."),
        )

    def do_cancel(self) -> None:
        """Give up what waits or runs of the chosen jobs."""
        jobs = [job for job in self.chosen_jobs() if job.total.left]
        count = sum(job.total.left for job in jobs)
        if not count:
            self.tell("Nothing of that waits or runs.")
            return
        self.confirm(
            f"Give up {count_of(count, 'task')} of {count_of(len(jobs), 'job')}? Movies that come later are processed.",
            [f"{job.called}: {job.total.left} wait or run" for job in jobs],
            lambda: self._each(jobs, "job.cancel", "job", lambda data: f"Cancelled {data['tasks']} task(s)."),
        )

    def do_complete(self) -> None:
        """Declare the chosen jobs completed."""
        jobs = [job for job in self.chosen_jobs() if not job.is_over]
        if not jobs:
            self.tell("These jobs are over already.")
            return
        self.confirm(
            f"Declare {count_of(len(jobs), 'job')} completed, whatever is open?",
            [f"{job.called}: {job.total.left} open, {job.total.failed} failed" for job in jobs],
            lambda: self._each(jobs, "job.complete", "job", lambda _: "Marked completed."),
        )

    def do_pause(self) -> None:
        """Pause the chosen sessions, or end their pause."""
        jobs = self.chosen_jobs()
        if not jobs:
            return
        paused = [job for job in jobs if self.model.pause_of(job.summary.session_id)]
        verb, chosen = ("resume", paused) if paused else ("pause", jobs)
        question = "Go on with" if paused else "Begin nothing new of"
        self.confirm(
            f"{question} {count_of(len(chosen), 'session')}?",
            [job.called for job in chosen],
            lambda: self._each(chosen, f"session.{verb}", "session", lambda _: f"{verb.capitalize()}d."),
        )

    def _each(self, jobs: Sequence[Job], command: str, key: str, told: Callable[[Any], str]) -> None:
        for job in jobs:
            named = job.job_id if key == "job" else job.summary.session_id
            self.command(command, {key: named}, partial(_told_of, job.called, told))

    def _draw_columns(self) -> None:
        steps = [TableColumn(f"step {step}", step, max(len(step), _STEP_BAR + 5)) for step in self.model.jobs.steps()]
        self.table.set_columns([*_COLUMNS, *steps])

    def _key(self, row: int) -> Any:
        job, now_s = self.model.jobs.rows[row], self.terminal.stood_s()
        return _KEYS[self.sort_key or "started"](job, now_s)

    def _cell(self, row: int, key: str) -> Sequence[Piece]:
        job, now_s = self.model.jobs.rows[row], self.terminal.stood_s()
        if key.startswith("step "):
            return _bar(job.steps.get(key.removeprefix("step ")), _STEP_BAR)
        if key == "state":
            paused = self.model.pause_of(job.summary.session_id) or self.model.pause_of(None)
            return [("‖ paused", "warning")] if paused and not job.is_over else state_pieces(_state(job))
        if key == "all":
            return _bar(job.total, _BAR)
        if key == "failed":
            return [(f"✗ {job.total.failed}", "failed")] if job.total.failed else [("–", "dim")]
        return [(_WORDS[key](job, now_s), "plain")]

    def _details(self, width: int) -> Sequence[Sequence[Piece]]:
        row = self.table.cursor_row
        if row is None:
            return []
        job = self.model.jobs.rows[row]
        lines: list[list[Piece]] = [self._headline(job)]
        name_width = max((len(step) for step in job.steps), default=0)
        for step, count in job.steps.items():
            bar = max(8, min(40, width - name_width - 48))
            pause = self.model.pause_of(None, step) or self.model.pause_of(job.summary.session_id, step)
            words = count_words(count)
            if pause:
                words.append((f"  ‖ paused by {show_line(pause['asked_by'], 60)}", "warning"))
            lines.append([(f" {step:<{name_width}} ", "plain"), *count_bar(count, bar), (" ", "plain"), *words])
        return lines

    def _headline(self, job: Job) -> list[Piece]:
        shown = show_job(job.state)
        line: list[Piece] = [
            (" ", "plain"),
            *session_pieces(job.summary.title, job.session),
            (f"  {job.summary.kind}  ", "dim"),
            (str(shown), shown.tone),
        ]
        for by, what in ((job.summary.cancelled_by, "cancelled"), (job.summary.completed_by, "marked completed")):
            if by:
                line.append((f"  {what} by {show_line(by, 80)}", "warning"))
        if job.summary.session_state == "open" and not job.is_over:
            line.append(("  more movies are expected", "dim"))
        selected = self.chosen_words()
        return [*line, (f"   {selected}", "warning")] if selected else line


_KEYS: Mapping[str, Callable[[Job, float], Any]] = {
    "state": lambda job, _: show_job(job.state).word,
    "session": lambda job, _: job.called,
    "all": lambda job, _: job.total.ended / job.total.total if job.total.total else None,
    "failed": lambda job, _: job.total.failed,
    "left": lambda job, now_s: job.left_s(now_s),
    "rate": lambda job, now_s: job.images_per_second(now_s),
    "elapsed": lambda job, now_s: job.elapsed_s(now_s),
    "started": lambda job, _: job.started_s,
}
"""What jobs are sorted by."""
_WORDS: Mapping[str, Callable[[Job, float], str]] = {
    "session": lambda job, _: job.called,
    "left": lambda job, now_s: show_span(job.left_s(now_s)),
    "rate": lambda job, now_s: show_rate(job.images_per_second(now_s)),
    "elapsed": lambda job, now_s: show_span(job.elapsed_s(now_s)),
    "started": lambda job, now_s: show_moment(job.started_s, now_s),
}


def _state(job: Job) -> Shown:
    """How a job's state looks in its row: a session that rests says first what failed in it."""
    if job.state == "idle" and job.total.failed:
        return Shown("✗", f"{job.total.failed} failed", "failed")
    return show_job(job.state)


def _told_of(session: str, told: Callable[[Any], str], data: Any) -> str:
    return f"{session}: {told(data)}"


def _bar(count: StepCount | None, width: int) -> list[Piece]:
    if count is None:
        return [("–", "dim")]
    return [*count_bar(count, width), (f"{100 * count.ended // count.total:>4}%" if count.total else "    –", "plain")]
