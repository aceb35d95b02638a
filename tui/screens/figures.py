"""Where figures and gates come from: asked of the daemon, judged and counted beside the keys."""

import asyncio
from functools import partial
from typing import Any

import msgspec

from daemon.errors import ElcanoError
from daemon.messages.curation import CurationAnswer, MeasureInfo
from tui.core.curve import TIME, Point
from tui.core.gate_desk import GateDesk, View
from tui.core.model import Changes
from tui.core.spans import count_of
from tui.screens.base import ElcanoScreen
from tui.screens.choose_session import choose_session
from tui.widgets.line_table import LineTable
from tui.widgets.plot import Plot

ASK_EVERY_S = 5.0
_ASK_AT_LEAST_EVERY_S = 30.0
_SETTLE_S = 0.4
"""So long after the last move of a limit the daemon is asked what it means."""
_MOST_SESSIONS = 20
"""So many of the newest are shown where all are meant."""


class FiguresScreen(ElcanoScreen):
    """Has the figures of a session, or of all, and a view of them that is renewed when something moved."""

    def __init__(self) -> None:
        super().__init__()
        self.desk = GateDesk()
        self.is_about_all = False
        self.point: Point | None = None
        self.view: View | None = None
        self.against_key = TIME
        self.trouble = ""
        self._is_asking = self._is_outdated = False
        self._is_looking = self._is_looked_late = False
        self._asked_s = 0.0
        self._moves = 0

    @property
    def table(self) -> LineTable:
        """Measures with their limits."""
        return self.query_one(LineTable)

    @property
    def plot(self) -> Plot:
        """The plot."""
        return self.query_one(Plot)

    @property
    def measure(self) -> MeasureInfo | None:
        """The measure under the cursor."""
        row = self.table.cursor_row
        return None if row is None or row >= len(self.desk.measures) else self.desk.measures[row]

    @property
    def against(self) -> MeasureInfo | None:
        """The measure on the x axis; None: time."""
        return next((info for info in self.desk.measures if info.key == self.against_key), None)

    def draw_changes(self, changes: Changes) -> None:
        """Remember that figures moved; they are asked for every few seconds."""
        self._is_outdated |= bool(changes.jobs_moved or changes.sessions)
        if changes.jobs_added and not self.desk.curations:
            self.ask()

    def do_choose_session(self) -> None:
        """Choose the session."""

        def take() -> None:
            self.is_about_all = False
            self.draw_all()

        choose_session(self, take)

    def do_scope(self) -> None:
        """Show, and move, the gates of this session or of all."""
        self._forget()
        self.is_about_all = not self.is_about_all
        self.draw_all()

    def names(self) -> list[str]:
        """Return the sessions that are meant, the chosen one first: its gates are shown."""
        chosen = self.model.chosen_session()
        if chosen is None:
            return []
        others = [name for name in self.model.session_names() if name != chosen] if self.is_about_all else []
        return [chosen, *others][:_MOST_SESSIONS]

    def forget_others(self) -> None:
        """Forget what is known of another session than the one that was chosen meanwhile, here or elsewhere."""
        known = self.desk.sessions
        if known and (known[:1] != self.names()[:1] or (len(known) > 1 and not self.is_about_all)):
            self._forget()

    def _forget(self) -> None:
        known = self.desk.sessions
        if self.desk.moved:
            about = self.model.call(known[0]) if len(known) == 1 else count_of(len(known), "session")
            self.tell(f"The limits of {about} that were moved and not applied stay as they were.")
        self.desk.clear()
        self.view, self.point, self.trouble = None, None, ""
        self.table.show([])

    def ask_if_outdated(self) -> None:
        """Ask again where something moved since, unless nobody looks or a limit is being dragged.

        Now and then in any case: no event tells that somebody else moved the gates.
        """
        is_old = self.terminal.clock_s() - self._asked_s > _ASK_AT_LEAST_EVERY_S
        if (self._is_outdated or is_old) and self.app.screen is self and not self.plot.is_dragging:
            self.ask()

    def ask(self) -> None:
        """Ask for the figures, once at a time."""
        self._is_outdated = True
        if not self._is_asking and self.model.link.is_connected:
            self._is_asking, self._is_outdated = True, False
            self._asked_s = self.terminal.clock_s()
            self.run_beside(self._renew, group="figures")

    async def _renew(self) -> None:
        names = self.names()
        answers: list[CurationAnswer] = []
        try:
            for name in names:
                answer = await self.terminal.link.ask("curation", {"session": name})
                answers.append(await asyncio.to_thread(msgspec.convert, answer, CurationAnswer))
        except ElcanoError as error:
            self.trouble = str(error)
        else:
            self.trouble = ""
        finally:
            self._is_asking = False
        if not self.is_ready:
            return
        if names != self.names():
            self.ask()
        elif not self.trouble:
            self.desk.take(answers)
            rows = list(range(len(self.desk.measures)))
            self.table.show(rows, rows)
            self.fit_table()
            self.look()
            self.preview_soon()
        self.draw_desk()

    def applied(self) -> None:
        """The limits hold now."""
        self.desk.drop()
        self.ask()

    def preview_soon(self) -> None:
        """Have the daemon say what the moved limits mean, once they rest."""
        self._moves += 1
        if self.desk.moved:
            self.set_timer(_SETTLE_S, partial(self._preview, self._moves))

    def _preview(self, moves: int) -> None:
        if moves == self._moves and self.desk.moved and self.model.link.is_connected:
            self.run_beside(partial(self._renew_preview, moves), group="preview")

    async def _renew_preview(self, moves: int) -> None:
        asked = [{"session": name, "limits": dict(self.desk.moved)} for name in self.desk.sessions]
        try:
            answers: list[Any] = [await self.terminal.link.ask("gates", one, timeout_s=120.0) for one in asked]
        except ElcanoError as error:
            if moves == self._moves:
                self.trouble = str(error)
        else:
            if moves == self._moves:
                self.trouble = ""
                self.desk.take_exact(answers)
        if self.is_ready:
            self.draw_desk()

    def look(self) -> None:
        """Judge and count beside the keys, once at a time."""
        self._is_looked_late = True
        if not self._is_looking and self.measure is not None:
            self._is_looking, self._is_looked_late = True, False
            self.run_beside(self._renew_view, group="curve")

    async def _renew_view(self) -> None:
        measure, against = self.measure, self.against_key if self.against else TIME
        try:
            if measure is not None:
                self.view = await asyncio.to_thread(self.desk.copy().look, measure, against, self.plot.cells)
        finally:
            self._is_looking = False
        if self.is_ready:
            self.draw_desk()
            if self._is_looked_late:
                self.look()

    def fit_table(self) -> None:
        """Bring the table to a height for its rows."""
        raise NotImplementedError

    def draw_desk(self) -> None:
        """Draw what is known and what was counted."""
        raise NotImplementedError
