"""Going from one screen to what it is about on another."""

from typing import Protocol, runtime_checkable

from tui.screens.base import ElcanoScreen
from tui.tabs import TABS

_MICROGRAPHS = "micrographs"
_JOBS = "jobs"


@runtime_checkable
class ShowsImages(Protocol):
    """A screen that can be told to go to an image."""

    def show_image(self, session: str, image: str) -> None:
        """Go to an image of a session, both by name."""
        ...


def open_micrograph(screen: ElcanoScreen, session: str, image: str) -> None:
    """Go to the tab of micrographs, and there to an image."""
    app = screen.app
    if _MICROGRAPHS not in {tab.name for tab in TABS}:
        screen.tell("This terminal has no screen of micrographs.")
        return

    def show() -> None:
        first = app.screen_stack[0]
        if isinstance(first, ShowsImages):
            first.show_image(session, image)

    app.switch_mode(_MICROGRAPHS)
    app.call_after_refresh(show)


def open_job(screen: ElcanoScreen, job_id: str) -> None:
    """Go to the tab of jobs, and there into a job."""
    app = screen.app

    def show() -> None:
        from tui.screens.job import JobScreen  # noqa: PLC0415

        app.push_screen(JobScreen(job_id))

    app.switch_mode(_JOBS)
    app.call_after_refresh(show)
