"""What can be done to tasks, from wherever they are seen: retry, cancel, run again with other parameters."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from tui.core.spans import count_of
from tui.core.text import show_line
from tui.screens.base import ElcanoScreen
from tui.screens.parameters import ParametersScreen

_AT_ONCE = 5000
"""Ids in one request: a message of NATS holds about five times as many."""


def retry_tasks(screen: ElcanoScreen, task_ids: Sequence[str], images: Sequence[str]) -> None:
    """Run tasks again that failed or were cancelled, once that is confirmed."""
    if not task_ids:
        screen.tell("Nothing of that has failed or was cancelled.")
        return
    question = f"Run {count_of(len(task_ids), 'task')} of {count_of(len(images), 'image')} again?"
    screen.confirm(question, list(images), partial(_send, screen, "task.retry", task_ids, "will run again"))


def cancel_tasks(screen: ElcanoScreen, task_ids: Sequence[str], images: Sequence[str]) -> None:
    """Give up tasks that wait or run, once that is confirmed."""
    if not task_ids:
        screen.tell("Nothing of that waits or runs.")
        return
    question = f"Give up {count_of(len(task_ids), 'task')} of {count_of(len(images), 'image')}?"
    screen.confirm(question, list(images), partial(_send, screen, "task.cancel", task_ids, "cancelled"))


def rerun_stage(screen: ElcanoScreen, stage: str, session: str, images: Sequence[str]) -> None:
    """Ask for parameters, then say what running the stage with them would mean, then do it."""

    def fill(answer: Sequence[dict[str, Any]]) -> None:
        told = answer[0]
        about = f"for {images_words(images)} of {screen.model.call(session)}"
        form = ParametersScreen(stage, about, told["schema"], told["parameters"])
        screen.app.push_screen(form, preview)

    def preview(values: dict[str, Any] | None) -> None:
        if values is not None:
            asked = {"stage": stage, "session": session, "images": list(images), "values": values}
            screen.ask_then("stage.reprocess", {**asked, "preview": True}, partial(confirm, asked), timeout_s=60.0)

    def confirm(asked: dict[str, Any], told: dict[str, Any]) -> None:
        if not told["tasks"]:
            left_out = "; ".join(f"{count} left out: {why}" for why, count in told["left_out"].items())
            screen.tell(f"Nothing would run. {left_out}", is_trouble=True)
            return
        details = [f"{name}: {count_of(count, 'task')}" for name, count in told["stages"].items()]
        details += [f"left out: {count} ({why})" for why, count in told["left_out"].items()]
        details += [f"{key} = {value!r}" for key, value in asked["values"].items()] or ["parameters as they are"]
        screen.confirm(
            f"Run {stage}, and what depends on it, again for {count_of(told['movies'], 'image')}?",
            details,
            partial(
                screen.command,
                "stage.reprocess",
                {**asked, "token": told["token"]},
                lambda done: f"{count_of(done['tasks'], 'task')} will run again.",
            ),
        )

    screen.ask_then("parameters", {"stage": stage, "session": session, "described": True}, fill)


def toggle_pause(screen: ElcanoScreen, stage: str, session_id: str, session: str) -> None:
    """Begin nothing new of a stage of a session, or go on."""
    is_paused = screen.model.pause_of(session_id, stage) is not None
    verb = "resume" if is_paused else "pause"
    screen.confirm(
        f"{'Go on with' if is_paused else 'Begin nothing new of'} {stage} of {session}?",
        [],
        partial(
            screen.command,
            f"stage.{verb}",
            {"stage": stage, "session": session_id},
            lambda _: f"{stage} of {session}: {verb}d.",
        ),
    )


def _send(screen: ElcanoScreen, command: str, task_ids: Sequence[str], words: str) -> None:
    for begin in range(0, len(task_ids), _AT_ONCE):
        told: Callable[[Any], str] = lambda data: f"{count_of(data['tasks'], 'task')} {words}."  # noqa: E731
        screen.command(command, {"task_ids": list(task_ids[begin : begin + _AT_ONCE])}, told)


def images_words(names: Sequence[str]) -> str:
    """Name an image, or count them."""
    return show_line(names[0], 80) if len(names) == 1 else count_of(len(names), "image")
