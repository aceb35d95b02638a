"""The terminal from the first line that is painted until its person leaves it."""

from collections.abc import Callable

from tui.app import ElcanoTerminal
from tui.link import LateLink, Link
from tui.read_mark import ReadMark


def run_terminal(find: Callable[[], tuple[Link, ReadMark]], typed: str = "") -> str:
    """Run the terminal until its person leaves it; return why what was read of the notifications is not remembered.

    `find` is called once something is painted: it returns the way to the daemon, and what was read before. What it
    raises of ElcanoError ends the terminal, and is raised.
    """
    marks: list[ReadMark] = []

    def found() -> Link:
        link, mark = find()
        notifications.read_until_s = mark.read()
        marks.append(mark)
        return link

    app = ElcanoTerminal(LateLink(found), typed=typed)
    notifications = app.model.notifications
    app.run()
    if app.failure is not None:
        raise app.failure
    for mark in marks:
        if notifications.read_until_s > mark.read():
            mark.write(notifications.read_until_s)
    return "".join(mark.problem for mark in marks)
