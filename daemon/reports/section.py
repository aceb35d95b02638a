"""What a part of a report is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from daemon.reports.data import SessionData
from daemon.reports.markup import Html


@dataclass(frozen=True)
class Section:
    """A part of the page: shown when the store has the tables that it needs, drawn by one function."""

    key: str
    """Its anchor in the page."""
    title: str
    render: Callable[[SessionData], Html | None]
    """Returns the content, None where there is nothing to say."""
    needs: Sequence[str] = ()
    """Tables that must have rows for this session: of a stage's numbers, `metrics_<stage>`."""

    def applies(self, data: SessionData) -> bool:
        """Whether the session has what it is made from."""
        return all(len(data.answer(name)) for name in self.needs)
