"""Curate: figures over time or against each other, and the gates that are moved over them."""

from collections.abc import Sequence
from functools import partial

from textual.app import ComposeResult

from daemon.messages.curation import GateInfo
from tui.core.curve import TIME, Point
from tui.core.gate_desk import View
from tui.core.gate_words import (
    headline,
    legend,
    limit_words,
    move_words,
    point_words,
    preview_words,
    range_words,
    share_words,
)
from tui.core.gate_words import value_words as show_value
from tui.core.text import show_line
from tui.screens.ask_line import AskLineScreen
from tui.screens.figures import ASK_EVERY_S, FiguresScreen
from tui.screens.jumps import open_micrograph
from tui.screens.moving_gates import apply_moved, undo_move
from tui.widgets.line_table import LineTable, TableColumn
from tui.widgets.lines import Lines
from tui.widgets.plot import Limit, Plot, Scene
from tui.widgets.tones import Piece

_FAR = 10
_COLUMNS = (
    TableColumn("measure", "measure", 18, fixed=True),
    TableColumn("low", "at least", 10, right=True),
    TableColumn("high", "at most", 10, right=True),
    TableColumn("refuses", "refuses", 7, right=True),
    TableColumn("median", "median", 9, right=True),
    TableColumn("range", "from … to", 20, right=True),
    TableColumn("known", "known", 7, right=True),
)


class CurateScreen(FiguresScreen):
    """While a limit moves it is judged here, once it rests by the daemon; nothing holds until it is applied."""

    NAME = "curate"

    def compose_body(self) -> ComposeResult:
        """Counts above, measures with their limits, the plot below."""
        yield Lines(self._headline, fit=True, id="headline")
        yield LineTable(self._cell, cells=True)
        yield Plot(id="curve")
        yield Lines(self._footline, fit=True, id="footline")

    def on_mount(self) -> None:
        """The measures take the keys."""
        self.table.set_columns(_COLUMNS)
        self.table.focus()
        self.set_interval(ASK_EVERY_S, self.ask_if_outdated)

    @property
    def gate(self) -> GateInfo | None:
        """The gate under the cursor: on the columns of limits that one, elsewhere the measure's first."""
        lead, measure = self.desk.lead, self.measure
        if lead is None or measure is None:
            return None
        gates = lead.gates_of(measure.key)
        if len(gates) > 1 and self.table.cursor_column in {"low", "high"}:
            return lead.gate(measure.key, passes_below=self.table.cursor_column == "high")
        return gates[0] if gates else None

    def draw_all(self) -> None:
        """Draw what is known, and ask anew."""
        self.forget_others()
        self.draw_desk()
        self.ask()

    def on_resize(self) -> None:
        """Share the height anew."""
        self.fit_table()

    def fit_table(self) -> None:
        """Leave the plot the larger part."""
        wanted = len(self.desk.measures) + 1
        self.table.styles.height = max(4, min(wanted, (self.size.height - 6) * 2 // 5))

    def on_line_table_moved(self, _: LineTable.Moved) -> None:
        """Another measure, or another of its limits."""
        if self.view is not None and self.measure == self.view.curve.measure:
            self._draw_plot()
        else:
            self.point = None
            self.look()

    def on_line_table_opened(self, _: LineTable.Opened) -> None:
        """Type the limit that was clicked twice."""
        self.action_act("limit_type")

    def on_plot_resized(self, _: Plot.Resized) -> None:
        """Make the curve for as many cells as there are."""
        self.look()

    def on_plot_dragged(self, event: Plot.Dragged) -> None:
        """Move the limit that is dragged to a round value."""
        if self.view is not None:
            step = self.view.curve.grid.y.step
            self._move(event.name, round(event.value / step) * step)

    def on_plot_clicked(self, event: Plot.Clicked) -> None:
        """Put the cursor on the nearest point; twice: open its micrograph."""
        place = None if self.view is None else self.view.curve.nearest(event.column, event.row)
        if self.view is not None and place is not None:
            self._go_to(self.view.curve.points[place])
            if event.is_double:
                self.action_act("open")

    def do_open(self) -> None:
        """Go to the micrograph of the point."""
        if self.point is None:
            self.tell("Choose a point first: n and N go to micrographs that are refused, a click to the nearest.")
        else:
            open_micrograph(self, self.point.session, self.point.name)

    def do_back(self) -> None:
        """Drop the moved limits, then the point."""
        if self.desk.moved:
            self.desk.drop()
            self._after_move()
        elif self.point is not None:
            self._go_to(None)
        else:
            super().do_back()

    def do_search_next(self) -> None:
        """Go to the next micrograph that is refused."""
        self._search(1)

    def do_search_previous(self) -> None:
        """Go to the one before that is refused."""
        self._search(-1)

    def do_limit_up(self) -> None:
        """Move the limit up by a step."""
        self._nudge(1)

    def do_limit_down(self) -> None:
        """Move the limit down by a step."""
        self._nudge(-1)

    def do_limit_far_up(self) -> None:
        """Move the limit up by many steps."""
        self._nudge(_FAR)

    def do_limit_far_down(self) -> None:
        """Move the limit down by many steps."""
        self._nudge(-_FAR)

    def do_limit_off(self) -> None:
        """Switch the gate off, or on again."""
        gate = self._gate_or_tell()
        if gate is not None:
            self._move(gate.name, None if self.desk.limit(gate) is not None else self.desk.start_of(gate))

    def do_limit_default(self) -> None:
        """Move the limit to where config.toml has it."""
        gate = self._gate_or_tell()
        if gate is not None:
            self._move(gate.name, gate.configured)

    def do_limit_type(self) -> None:
        """Type the limit."""
        gate, measure = self._gate_or_tell(), self.measure
        if gate is None or measure is None:
            return

        def take(typed: str | None) -> None:
            if typed is not None:
                self._move(gate.name, None if typed.lower() in {"", "off"} else float(typed))

        limit, unit = self.desk.limit(gate), measure.unit
        side = "at most" if gate.passes_below else "at least"
        box = AskLineScreen(
            f"{measure.title}, {side}{f' (in {unit.strip()})' if unit else ''}:",
            [
                f"It is {limit_words(gate.limit, unit)} now, {limit_words(gate.configured, unit)} in config.toml.",
                "Only what it means is shown then: nothing holds before it is applied with a.",
            ],
            "" if limit is None else f"{limit:g}",
            hint="a number, or off",
            keys="Enter: show it     Esc: leave it",
            problem=partial(_problem_of_number, gate, unit),
        )
        self.app.push_screen(box, take)

    def do_axis(self) -> None:
        """Put the next measure on the x axis, time after the last."""
        facts = self.view.facts if self.view else {}
        keys = [TIME, *(info.key for info in self.desk.measures if info.key in facts and facts[info.key].known)]
        at = keys.index(self.against_key) if self.against_key in keys else 0
        self.against_key = keys[(at + 1) % len(keys)]
        self.look()

    def do_apply(self) -> None:
        """Let the moved limits hold, once that is confirmed."""
        if self.desk.moved:
            apply_moved(self, self.desk.sessions, self.desk.moved, self.applied)
        else:
            self.tell("No limit is moved: + and - move the one under the cursor, e types it.")

    def do_undo(self) -> None:
        """Go back to the limits before the last move, whoever made it, once that is confirmed."""
        former = self.desk.former()
        if former:
            undo_move(self, former, self.applied)
        else:
            self.tell("Nobody has moved the gates here: they stand as config.toml has them.")

    def _gate_or_tell(self) -> GateInfo | None:
        gate = self.gate
        if gate is None:
            self.tell(f"No gate limits {self.measure.title if self.measure else 'this'} on that side.")
        return gate

    def _nudge(self, steps: int) -> None:
        gate = self._gate_or_tell()
        if gate is None or self.view is None:
            return
        step, start = self.view.curve.grid.y.step, self.desk.start_of(gate)
        if start is not None:
            self._move(gate.name, (round(start / step) + steps) * step)

    def _move(self, name: str, limit: float | None) -> None:
        self.desk.move(name, limit)
        self._after_move()

    def _after_move(self) -> None:
        self.trouble = ""  # it was about the limits as they stood before
        self.draw_desk()
        self.look()
        self.preview_soon()

    def draw_desk(self) -> None:
        """Draw what is known and what was counted."""
        self.table.empty = "" if self.desk.curations else self._empty()
        self.table.touch(range(len(self.desk.measures)))
        self.table.refresh()
        self._draw_plot()

    def _draw_plot(self) -> None:
        self.query_one("#headline", Lines).draw()
        self.query_one("#footline", Lines).draw()
        lead, view = self.desk.lead, self.view
        if lead is None or view is None or not view.curve.points:
            self.plot.empty = self._nothing(view)
            self.plot.show(None)
            return
        grid, chosen = view.curve.grid, self.gate
        limits = [
            Limit(gate.name, value, gate.passes_below, gate.name in self.desk.moved, gate == chosen)
            for gate in lead.gates_of(view.curve.measure.key)
            if (value := self.desk.limit(gate)) is not None and grid.y.low <= value <= grid.y.high
        ]
        point = None if self.point is None else view.curve.cell_of(self.point)
        self.plot.show(Scene(grid, view.curve.labels, limits, point))

    def _nothing(self, view: View | None) -> str:
        if view is None:
            return ""
        return f"No micrograph has a number for {view.curve.measure.title} yet: {view.curve.measure.stage} gives it."

    def _empty(self) -> str:
        if self.trouble:
            return show_line(self.trouble, 200)
        if not self.model.link.is_connected:
            return ""
        if not self.model.session_names():
            return "No session yet: `elcano import DIR` brings one, and figures come with its micrographs."
        return "asking…"

    def _headline(self, width: int) -> list[list[Piece]]:
        del width
        if self.desk.lead is None:
            return [[(" Curate: what micrographs are like, and the gates that let them pass", "strong")]]
        title = self.model.title_of(self.desk.lead.session)
        lines = [headline(self.desk, self.view, self.is_about_all, title)]
        may_ask = self.model.link.is_connected and not self.trouble
        return [*lines, preview_words(self.desk, may_ask=may_ask)] if self.desk.moved else lines

    def _footline(self, width: int) -> list[list[Piece]]:
        del width
        lead, view = self.desk.lead, self.view
        if lead is None or view is None:
            return []
        now_s = self.terminal.clock_s()
        lines = [legend(view.curve, self.against)]
        if self.point is not None:
            lines.append(point_words(self.point, view.curve, self.against, now_s))
        elif lead.answer.moves:
            lines.append(move_words(lead.answer.moves[0], now_s))
        if self.trouble:
            lines.append([(f" ⚠ {show_line(self.trouble, 300)}", "warning")])
        return lines

    def _cell(self, row: int, key: str) -> Sequence[Piece]:
        lead = self.desk.lead
        if lead is None or row >= len(self.desk.measures):
            return []
        info = self.desk.measures[row]
        if key == "measure":
            return [(show_line(info.title, 40), "plain")]
        if key in {"low", "high"}:
            return self._limit_cell(lead.gate(info.key, passes_below=key == "high"), info.unit)
        view = self.view
        if view is None:
            return [("…", "dim")]
        if key == "refuses":
            names = [gate.name for gate in lead.gates_of(info.key)]
            count = view.refused_by(names)
            return [(str(count) if names else "–", "failed" if count else "dim")]
        facts = view.facts[info.key]
        words = {
            "median": show_value(facts.middle, info.unit),
            "range": range_words(facts),
            "known": share_words(facts.known, facts.images) if facts.images else "–",
        }
        return [(words[key], "plain" if facts.known else "dim")]

    def _limit_cell(self, gate: GateInfo | None, unit: str) -> list[Piece]:
        if gate is None:
            return [("–", "dim")]
        limit = self.desk.limit(gate)
        words = limit_words(limit, unit)
        if gate.name in self.desk.moved:
            return [(f"✎ {words}", "warning")]
        return [("mixed" if self.desk.is_mixed(gate) else words, "dim" if limit is None else "plain")]

    def _go_to(self, point: Point | None) -> None:
        self.point = point
        self._draw_plot()

    def _search(self, step: int) -> None:
        found = None if self.view is None else self.view.next_refused(self.point, step)
        if found is None:
            self.tell("No micrograph on this plot is refused.")
        else:
            self._go_to(found)


def _problem_of_number(gate: GateInfo, unit: str, typed: str) -> str:
    if typed.lower() in {"", "off"}:
        return ""
    try:
        number = float(typed)
    except ValueError:
        return f"{typed!r} is no number."
    if not abs(number) < float("inf"):
        return "That is no limit."
    if gate.least is not None and number < gate.least:
        return f"It is at least {gate.least:g}{unit}."
    return f"It is at most {gate.most:g}{unit}." if gate.most is not None and number > gate.most else ""
