"""One task to its bottom: error, parameters, attempts, outputs, metrics, who did what, and its log as it is told."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePath
from typing import Any

import msgspec
from textual.app import ComposeResult
from textual.containers import VerticalScroll

from daemon.errors import ElcanoError
from daemon.messages.news import LogEntry, LogsAnswer
from daemon.messages.panel import TaskAnswer, TaskAttempt, TaskFile, TaskMove
from tui.core.model import Changes
from tui.core.parameter_words import tell_parameters
from tui.core.spans import show_bytes, show_moment, show_number, show_span
from tui.core.states import NOT_WHOLE, Shown, Tone, show_task
from tui.core.task_log import merge_logs
from tui.core.text import show_line, show_lines
from tui.screens.acting import cancel_tasks, rerun_stage, retry_tasks
from tui.screens.base import ElcanoScreen
from tui.widgets.lines import Lines
from tui.widgets.task_pictures import TaskPictures
from tui.widgets.tones import Piece

_MOST_LINES = 200
_POLL_S = 5.0
"""No event tells what the watcher says of a movie that is not whole yet."""
_SHORT = 24
"""Values up to so many characters stand side by side."""
_LEVELS: dict[str, Tone] = {"warning": "warning", "error": "failed", "debug": "dim"}


class TaskScreen(ElcanoScreen):
    """Everything about one task; `#pictures` is where its pictures are mounted."""

    NAME = "task"

    def __init__(self, task_id: str) -> None:
        super().__init__()
        self.task_id = task_id
        self.task_answer: TaskAnswer | None = None
        self._kept: list[LogEntry] = []
        """What the daemon's log has of the task…"""
        self._no_log = ""
        """…and why that cannot be had."""

    def compose_body(self) -> ComposeResult:
        """What is wrong first."""
        yield Lines(self._headline, fit=True, id="task-headline")
        with VerticalScroll(id="task-body"):
            yield Lines(self._facts, fit=True, id="task-facts")
            yield TaskPictures(id="pictures")
        yield Lines(self._log, fit=True, id="task-log")

    def on_mount(self) -> None:
        """The facts take the keys: they are scrolled."""
        self.query_one("#task-body").focus()
        self.set_interval(_POLL_S, self._poll)

    def draw_changes(self, changes: Changes) -> None:
        """Draw log lines as they come; ask again when the task moved."""
        if self.task_id in changes.tasks:
            self._draw()
            if any(step.task_id == self.task_id for step in list(self.model.steps)[-50:]):
                self._ask()
        elif self.task_answer is not None and self.task_answer.job_id in changes.jobs_moved:
            self._ask()

    def draw_all(self) -> None:
        """Draw what is known and ask for it."""
        self._draw()
        self._ask()

    def draw_time(self) -> None:
        """Draw how long it has been running."""
        self.query_one("#task-headline", Lines).draw()

    def do_retry(self) -> None:
        """Run the task again."""
        task = self.task_answer
        if task is not None:
            retry_tasks(self, [self.task_id] if task.state in {"failed", "cancelled", "skipped"} else [], [task.image])

    def do_cancel(self) -> None:
        """Give the task up."""
        task = self.task_answer
        if task is not None:
            cancel_tasks(self, [self.task_id] if task.state in {"pending", "running"} else [], [task.image])

    def do_rerun(self) -> None:
        """Run its stage again for this image, with other parameters."""
        if self.task_answer is not None:
            rerun_stage(self, self.task_answer.stage, self.task_answer.session, [self.task_answer.image])

    def do_copy(self) -> None:
        """Copy the paths of the outputs."""
        files = self.task_answer.files if self.task_answer else []
        if not files:
            self.tell("There is no output file to copy the path of.")
            return
        self.terminal.copy_out("\n".join(file.path for file in files))
        self.tell(f"{len(files)} path(s) copied.")

    def _poll(self) -> None:
        is_seen = self.app.screen is self and self.model.link.is_connected
        if is_seen and self.task_answer is not None and self.task_answer.not_whole:
            self._ask()

    def _ask(self) -> None:
        def take(data: Any) -> None:
            self.task_answer = msgspec.convert(data, TaskAnswer)
            self._draw()
            self.query_one(TaskPictures).show(self.task_answer)

        self.ask_then("task", {"task_id": self.task_id}, take)
        self.run_latest(self._ask_log, group="log")

    async def _ask_log(self) -> None:
        """Ask for what was said before; without an answer there is what is told from now on, and why."""
        try:
            data = await self.terminal.link.ask("logs", {"task_id": self.task_id, "limit": _MOST_LINES})
        except ElcanoError as error:
            self._no_log = str(error)
        else:
            self._kept, self._no_log = msgspec.convert(data, LogsAnswer).lines, ""
        if self.is_ready:
            self.query_one("#task-log", Lines).draw()

    def _draw(self) -> None:
        for lines in self.query(Lines):
            lines.draw()

    def _headline(self, width: int) -> Sequence[Sequence[Piece]]:
        del width
        task = self.task_answer
        if task is None:
            return [[(f" task {show_line(self.task_id, 60)}: asking…", "dim")]]
        shown = _show_state(task)
        line: list[Piece] = [
            (f" {show_line(task.image, 80)}", "strong"),
            (f"  {task.stage}  ", "plain"),
            (str(shown), shown.tone),
        ]
        if task.started_at_s is not None:
            ended_s = task.ended_at_s or self.terminal.stood_s()
            line.append((f"  {show_span(ended_s - task.started_at_s)}", "plain"))
        line.append((f"  {self.model.call(task.session)}", "dim"))
        return [line]

    def _facts(self, width: int) -> list[list[Piece]]:
        task = self.task_answer
        if task is None:
            return []
        return [line for section in self._sections(task, width) for line in section]

    def _sections(self, task: TaskAnswer, width: int) -> Iterator[list[list[Piece]]]:
        now_s = self.terminal.clock_s()
        if task.not_whole:
            said = (f"   {part}" for part in _wrap(task.not_whole, width - 4))
            rest: Piece = ("   nothing is begun before it is", "dim")
            yield [_title("its movie is not whole yet"), *_lines((part, "warning") for part in said), [rest]]
        if task.reason:
            yield _error(task, width)
        if task.warnings:
            parts = (f"   ⚠ {part}" for words in task.warnings for part in _wrap(words, width - 6))
            yield [_title("warnings"), *_lines((part, "warning") for part in parts)]
        if task.metrics:
            # What stands among the warnings already is not said twice.
            told = {key: show_number(value) for key, value in task.metrics.items() if value not in {"", *task.warnings}}
            yield [_title("results"), *_pairs(told, width)]
        if task.files:
            yield [_title("output files (y copies their paths)"), *_files(task.files, width)]
        about = "its last attempt ran with these" if task.ran_with_these else "what it would run with now"
        told = tell_parameters(task.parameters, task.own_parameters)
        yield [_title(f"parameters ({about})"), *_pairs(told, width)]
        if task.runs:
            yield [_title("attempts"), *(line for run in task.runs for line in _attempt(run, now_s))]
        yield [_title("history"), *(_move(move, now_s) for move in task.history)]
        yield [_title("movie"), *_lines((f"   {part}", "plain") for part in _wrap(task.movie, width - 4))]

    def _log(self, width: int) -> list[list[Piece]]:
        del width
        lines = merge_logs(self._kept, self.model.log_of(self.task_id))
        about = "" if lines else ": nothing was said of it since the daemon began"
        about = f", from now on only: {show_line(self._no_log, 200)}" if self._no_log else about
        shown: list[list[Piece]] = [[(f" log{about}", "dim")]]
        for line in lines[-max(3, self.size.height // 4) :]:
            moment = show_moment(line.at_s, self.terminal.clock_s())
            shown.append([(f" {moment} ", "dim"), (show_line(line.message), _LEVELS.get(line.level, "plain"))])
        return shown


def _show_state(task: TaskAnswer) -> Shown:
    """How the task stands; one that waits for nothing but its movie says so."""
    if task.not_whole and task.state == "pending":
        return Shown(NOT_WHOLE.sign, "not whole yet", NOT_WHOLE.tone)
    return show_task(task.state)


def _lines(pieces: Iterable[Piece]) -> list[list[Piece]]:
    return [[piece] for piece in pieces]


def _files(files: Sequence[TaskFile], width: int) -> list[list[Piece]]:
    """Name the folder once: what tells paths apart is their end, and must not be cut."""
    folder = str(PurePath(files[0].path).parent)
    lines = _lines((f"   {part}", "dim") for part in _wrap(f"{folder}/", width - 4))
    for file in files:
        path = PurePath(file.path)
        shown = path.name if str(path.parent) == folder else file.path
        first, *rest = _wrap(shown, width - 16)
        lines.append([(f"   {show_bytes(file.size_bytes):>9}  ", "dim"), (first, "plain")])
        lines += _lines((f"{'':14}{part}", "plain") for part in rest)
    return lines


def _title(words: str) -> list[Piece]:
    return [(f" {words}", "strong")]


def _error(task: TaskAnswer, width: int) -> list[list[Piece]]:
    shown: Shown = show_task(task.state)
    lines: list[list[Piece]] = [[(f" {shown.sign} {task.error_kind or shown.word}", shown.tone)]]
    lines += _lines((f"   {part}", "plain") for part in _wrap(task.reason, width - 4))
    lines += _lines((f"   {part}", "warning") for part in _wrap(task.hint, width - 4))
    if task.next_attempt_at_s is not None:
        lines.append([("   it is tried again by itself", "dim")])
    return lines


def _wrap(text: str, width: int) -> list[str]:
    """Break a text into lines, at spaces where there are any."""
    lines: list[str] = []
    for line in show_lines(text, most=50):
        while len(line) > width > 0:
            cut = line.rfind(" ", 0, width + 1)
            cut = cut if cut > 0 else width
            lines.append(line[:cut])
            line = line[cut:].lstrip()  # noqa: PLW2901
        if line:
            lines.append(line)
    return lines


def _pairs(values: dict[str, str], width: int) -> list[list[Piece]]:
    """Set names and values side by side, in as many columns as there is room for."""
    if not values:
        return [[("   none", "dim")]]
    name_width = max(len(key) for key in values)
    short = {key: value for key, value in values.items() if len(value) <= _SHORT}
    cell = name_width + max((len(value) for value in short.values()), default=0) + 5
    across = max(1, (width - 3) // cell)
    items = list(short.items())
    down = -(-len(items) // across)
    lines: list[list[Piece]] = []
    for row in range(down):
        line: list[Piece] = [("   ", "plain")]
        for key, value in items[row::down]:
            line += [(f"{key:<{name_width}}  ", "dim"), (f"{value:<{cell - name_width - 2}}", "plain")]
        lines.append(line)
    for key, value in values.items():
        if key not in short:
            first, *rest = _wrap(value, width - name_width - 6)
            lines.append([(f"   {key:<{name_width}}  ", "dim"), (first, "plain")])
            lines += _lines((f"{'':<{name_width + 5}}{part}", "plain") for part in rest)
    return lines


def _attempt(run: TaskAttempt, now_s: float) -> list[list[Piece]]:
    shown = show_task(run.outcome)
    ended_s = run.ended_at_s or now_s
    head: list[Piece] = [
        (f"   {run.attempt}  ", "plain"),
        (f"{shown!s:<12}", shown.tone),
        (f"{show_moment(run.started_at_s, now_s)}  {show_span(ended_s - run.started_at_s)}", "plain"),
        (f"  {show_line(run.reason, 200)}", "dim"),
    ]
    return [head, *_lines((f"      {line}", "dim") for line in show_lines(run.detail, most=30) if line)]


def _move(move: TaskMove, now_s: float) -> list[Piece]:
    shown = show_task(move.to_state)
    line: list[Piece] = [(f"   {show_moment(move.at_s, now_s)}  ", "dim"), (f"{shown!s:<12}", shown.tone)]
    if move.asked_by:
        line.append((f" by {show_line(move.asked_by, 80)}", "warning"))
    words = " ".join(dict.fromkeys(filter(None, (move.cause, move.reason))))
    return [*line, (f" {show_line(words, 200)}", "dim")]
