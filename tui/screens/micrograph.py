"""Micrographs one by one: pictures, curves of the rings, path of the motion, and the verdict by hand."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec
from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical

from daemon.errors import ElcanoError
from daemon.messages.micrographs import MicrographAnswer, MicrographRow, PictureInfo
from tui.core.album import Album
from tui.core.drawings import draw_path, draw_rings
from tui.core.micrographs import verdict_of
from tui.core.model import Changes
from tui.core.spans import show_moment, show_number
from tui.core.states import show_task
from tui.core.text import show_line
from tui.screens.base import ElcanoScreen
from tui.screens.judging import Verb, mark_images
from tui.widgets.line_table import LineTable
from tui.widgets.lines import Lines
from tui.widgets.picture_pane import TITLES, PicturePane, find_picture, picture_order
from tui.widgets.tones import Piece, width_of

_LOW_ROWS, _NARROW_COLUMNS = 24, 70
_NUMBERS = (
    ("ctf_estimation", "defocus_u_ang", "defocus", 1e-4, " µm"),
    ("ctf_estimation", "astigmatism_ang", "astig", 1, " Å"),
    ("ctf_estimation", "fit_resolution_ang", "fit", 1, " Å"),
    ("ctf_estimation", "score", "score", 1, ""),
    ("ctf_estimation", "ice_ring", "ice", 1, ""),
    ("ctf_estimation", "tilt_angle_deg", "tilt", 1, "°"),
    ("ctf_estimation", "thickness_ang", "thick", 1, " Å"),
    ("motion_correction", "total_motion_ang", "drift", 1, " Å"),
    ("motion_correction", "frame_count", "frames", 1, ""),
    ("particle_picking", "particle_count", "particles", 1, ""),
)


class Desk(Protocol):
    """The list that micrographs are taken from: it knows their order, asks what has changed, and goes on below."""

    session: str | None
    why: str
    album: Album
    on_rows: Callable[[], None] | None

    @property
    def table(self) -> LineTable:
        """Its table, with the cursor."""
        ...

    def row_at(self, position: int) -> MicrographRow | None:
        """Return the micrograph at a position."""
        ...

    def ask(self) -> None:
        """Ask what has changed."""
        ...

    def do_why(self) -> None:
        """Ask the person for a reason."""
        ...

    def draw_changes(self, changes: Changes) -> None:
        """Take news."""
        ...


class MicrographScreen(ElcanoScreen):
    """One micrograph of the list it was opened from; ← → go along that list, in its order and through its filter."""

    NAME = "micrograph"

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self.desk = desk
        self._told: MicrographAnswer | None = None
        self._image = ""
        self._row: MicrographRow | None = None
        self._view = ""
        """The picture, or drawing, that is seen alone; empty for all at once."""
        self._trouble = ""
        self._curves_block = Lines(self._rings, id="micrograph-curves")
        self._path_block = Lines(self._path, id="micrograph-path")
        self._alone_block = Lines(self._alone, id="micrograph-drawing")

    def compose_body(self) -> ComposeResult:
        """Numbers above, pictures in the middle, drawings below."""
        album = self.desk.album
        yield Lines(self._headline, fit=True, id="micrograph-head")
        with Vertical(id="overview"):
            with Horizontal(id="micrograph-pictures"):
                yield PicturePane(album, id="micrograph-thumbnail")
                yield PicturePane(album, id="micrograph-rings")
            with Horizontal(id="micrograph-drawings"):
                yield self._curves_block
                yield self._path_block
        yield PicturePane(album, id="micrograph-alone")
        yield self._alone_block
        yield Lines(self._views_line, fit=True, id="micrograph-views")

    def on_mount(self) -> None:
        """Follow the list."""
        self.desk.on_rows = self._take_rows

    def on_unmount(self) -> None:
        """The list goes on alone."""
        self.desk.on_rows = None

    def on_resize(self, event: events.Resize) -> None:
        """Drawings stand below the pictures where there is room."""
        self.set_class(event.size.height < _LOW_ROWS, "low")
        self.set_class(event.size.width < _NARROW_COLUMNS, "narrow")
        self._draw()

    def draw_all(self) -> None:
        """Draw what is known, and ask for it; of another session than was chosen meanwhile, leave it to the list."""
        if self.desk.session != self.model.chosen_session() and self.is_current:
            self.app.pop_screen()
        else:
            self._go(self.row)

    def draw_changes(self, changes: Changes) -> None:
        """The list asks what has changed."""
        self.desk.draw_changes(changes)

    @property
    def row(self) -> MicrographRow | None:
        """The micrograph that is shown, as the list has it."""
        return self.desk.row_at(self.desk.table.rows.place)

    def do_next_image(self) -> None:
        """Show the next micrograph of the list."""
        self._step(1)

    def do_previous_image(self) -> None:
        """Show the one before."""
        self._step(-1)

    def do_next_picture(self) -> None:
        """Show the next picture alone, after the last all at once."""
        self._turn(1)

    def do_previous_picture(self) -> None:
        """Show the picture before."""
        self._turn(-1)

    def do_open(self) -> None:
        """Open the step that says most: the first that failed, else the last."""
        from tui.screens.task import TaskScreen  # noqa: PLC0415

        steps = [] if self._told is None else self._told.steps
        chosen = next((step for step in steps if step.state == "failed"), steps[-1] if steps else None)
        if chosen is None:
            self.tell("No step of this micrograph is known yet.")
        else:
            self.app.push_screen(TaskScreen(chosen.task_id))

    def do_accept(self) -> None:
        """Accept it by hand."""
        self._mark("accept")

    def do_reject(self) -> None:
        """Reject it by hand."""
        self._mark("reject")

    def do_unmark(self) -> None:
        """Leave it to the gates again."""
        self._mark("unmark")

    def do_why(self) -> None:
        """Say why they are accepted or rejected from now on."""
        self.desk.do_why()

    def _step(self, step: int) -> None:
        rows = self.desk.table.rows
        if not 0 <= rows.place + step < len(rows.order):
            self.tell("This is the last one." if step > 0 else "This is the first one.")
            return
        self.desk.table.move_to(rows.place + step)
        self._go(self.row)

    def _go(self, row: MicrographRow | None) -> None:
        """Show a micrograph, and ask for what is not in the list."""
        self._row = row
        if row is not None and row.name != self._image:
            self._told, self._image, self._trouble = None, row.name, ""
        self._draw()
        if row is not None:
            self._ask()

    def _ask(self) -> None:
        session, name = self.desk.session or "", self._image

        async def ask() -> None:
            try:
                data = await self.terminal.link.ask("micrograph", {"session": session, "image": name})
            except ElcanoError as error:
                self._trouble = str(error)
            else:
                if name == self._image:
                    self._told, self._trouble = msgspec.convert(data, MicrographAnswer), ""
            self._draw()

        self.run_worker(ask(), exclusive=True, group="micrograph")

    def _take_rows(self) -> None:
        """The list has changed: what is shown may have, or the filter hides it now and the next one is shown."""
        if self.row != self._row:
            self._go(self.row)
        elif self.is_ready:
            self.query_one("#micrograph-head", Lines).draw()

    def _mark(self, verb: Verb) -> None:
        if self._image:
            mark_images(self, verb, self.desk.session or "", [self._image], self.desk.why, self.desk.ask)

    def _views(self) -> list[str]:
        """Names of what can be seen alone, all at once first."""
        return ["", *(info.kind for info in self._pictures()), *self._drawings()]

    def _pictures(self) -> list[PictureInfo]:
        return [] if self._told is None else sorted(self._told.pictures, key=picture_order)

    def _drawings(self) -> list[str]:
        if self._told is None:
            return []
        return [*(["rings"] if self._told.curves else []), *(["path"] if self._told.path_ang else [])]

    def _turn(self, step: int) -> None:
        views = self._views()
        at = views.index(self._view) if self._view in views else 0
        self._view = views[(at + step) % len(views)]
        self._draw()

    def _draw(self) -> None:
        if not self.is_ready:
            return
        view = self._view if self._view in self._views() or self._told is None else ""
        is_drawing = view in {"rings", "path"}
        self.query_one("#overview").display = not view
        self.query_one("#micrograph-alone").display = bool(view) and not is_drawing
        self._alone_block.display = is_drawing
        self._look(view)
        for lines in self.query(Lines):
            if not isinstance(lines.parent, PicturePane):
                lines.draw()

    def _look(self, view: str) -> None:
        session, pictures = self.desk.session or "", self._pictures()
        waiting = "asking…" if self._told is None and not self._trouble else ""
        alone, thumbnail, rings = (
            self.query_one(f"#micrograph-{place}", PicturePane) for place in ("alone", "thumbnail", "rings")
        )
        if view:
            alone.look_at(session, self._image, find_picture(pictures, view), waiting)
            return
        thumbnail.look_at(session, self._image, find_picture(pictures, "thumbnail"), waiting or "no picture yet")
        found = find_picture(pictures, "ctf_spectrum", "fft_picture")
        rings.look_at(session, self._image, found, waiting or "no power spectrum yet")

    def _headline(self, width: int) -> list[list[Piece]]:
        row = self.row
        if row is None:
            return [[(" No micrograph is shown.", "dim")]]
        told, rows = self._told, self.desk.table.rows
        shown = verdict_of(row)
        first: list[Piece] = [
            (f" {show_line(row.name, 80)}", "strong"),
            (f"  {rows.place + 1} of {len(rows.order)}  ", "dim"),
            (str(shown), shown.tone),
        ]
        if told is not None and told.mark is not None:
            moment = show_moment(told.mark.at_s, self.terminal.clock_s())
            why = f": {told.mark.why}" if told.mark.why else ""
            first.append((f" by {show_line(told.mark.asked_by, 60)} {moment}{show_line(why, 200)}", "warning"))
        elif row.reason:
            first.append((f" {show_line(row.reason, 200)}", "dim"))
        if self.desk.why:
            first.append((f"  because: {show_line(self.desk.why, 60)}", "warning"))
        lines = [first, *_fill(_numbers(told), width)]
        if told is not None:
            lines += _fill([[(f"{step.stage} ", "dim"), *_state(step.state)] for step in told.steps], width)
        troubles = [self._trouble] if self._trouble else [] if told is None else told.troubles
        return lines + [[(f" {show_line(trouble, 300)}", "warning")] for trouble in troubles]

    def _rings(self, width: int) -> list[list[Piece]]:
        curves = None if self._told is None else self._told.curves
        height = self._curves_block.size.height
        if self._told is None or (curves is None and not self._is_done("ctf_estimation")):
            return []
        return draw_rings(curves, width, height)

    def _path(self, width: int) -> list[list[Piece]]:
        path = [] if self._told is None else self._told.path_ang
        height = self._path_block.size.height
        if self._told is None or (not path and not self._is_done("motion_correction")):
            return []
        return draw_path(path, width, height)

    def _is_done(self, stage: str) -> bool:
        steps = [] if self._told is None else self._told.steps
        return any(step.stage == stage and step.state == "completed" for step in steps)

    def _alone(self, width: int) -> list[list[Piece]]:
        if self._told is None:
            return []
        height = self._alone_block.size.height
        if self._view == "rings":
            return draw_rings(self._told.curves, width, height)
        return draw_path(self._told.path_ang, width, height)

    def _views_line(self, width: int) -> list[list[Piece]]:
        """What can be seen, the one that is seen in brackets; what this terminal has no room for among it."""
        words = {"": "all", "rings": "curves", "path": "path"}
        pieces: list[Piece] = [(" z: ", "dim")]
        for view in self._views():
            name = words.get(view) or TITLES.get(view, show_line(view, 30)).split(":")[0]
            is_seen = view == self._view
            pieces.append((f"[{name}]" if is_seen else f" {name} ", "strong" if is_seen else "dim"))
        is_hidden = not self._view and self.has_class("low") and self._drawings()
        tail: list[Piece] = [(" curves are hidden", "warning")] if is_hidden else []
        while width_of([*pieces, *tail]) > width and len(pieces) > 2:
            pieces.pop()
            tail = [("…", "dim"), *[piece for piece in tail if piece[1] == "warning"]]
        return [[*pieces, *tail]]


def _state(state: str) -> list[Piece]:
    shown = show_task(state)
    return [(shown.sign, shown.tone)] if state == "completed" else [(str(shown), shown.tone)]


def _numbers(told: MicrographAnswer | None) -> list[list[Piece]]:
    """Names and values; what is not known is left out."""
    if told is None:
        return []
    metrics: dict[str, dict[str, Any]] = {step.stage: step.metrics for step in told.steps}
    parts: list[list[Piece]] = []
    for stage, key, name, scale, unit in _NUMBERS:
        value = metrics.get(stage, {}).get(key)
        if isinstance(value, int | float):
            shown = show_number(value if isinstance(value, int) else float(f"{value * scale:.4g}"))
            parts.append([(f"{name} ", "dim"), (f"{shown}{unit}", "plain")])
    warnings = [str(numbers["warning"]) for numbers in metrics.values() if numbers.get("warning")]
    return parts + [[(f"⚠ {show_line(words, 200)}", "warning")] for words in warnings]


def _fill(parts: Sequence[list[Piece]], width: int) -> list[list[Piece]]:
    """Put parts side by side, on as many lines as they take."""
    lines: list[list[Piece]] = []
    taken = width
    for part in parts:
        room = width_of(part) + 2
        if taken + room > width:
            lines.append([(" ", "plain")])
            taken = 1
        lines[-1] += [*part, ("  ", "plain")]
        taken += room
    return lines
