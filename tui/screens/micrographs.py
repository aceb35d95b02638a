"""Micrographs of one session: what was found of each, and the verdict on it."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import msgspec
from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.timer import Timer

from daemon.errors import ElcanoError
from daemon.messages.micrographs import MicrographAnswer, MicrographRow, MicrographsAnswer
from tui.core.album import Album
from tui.core.calling import session_pieces
from tui.core.micrographs import NUMBERS, MicrographFilter, Micrographs, sort_key
from tui.core.model import Changes
from tui.core.selection import find_next, select_rows
from tui.core.spans import count_of
from tui.core.text import show_end, show_line
from tui.screens.choose_session import choose_session
from tui.screens.judging import ReasonScreen, Verb, mark_images
from tui.screens.table_screen import TableScreen
from tui.widgets.filter_bar import FilterBar
from tui.widgets.line_table import LineTable, TableColumn
from tui.widgets.lines import Lines
from tui.widgets.picture_pane import PicturePane, find_picture
from tui.widgets.tones import Piece, state_pieces

_REFRESH_S = 1.0
"""At most so often the daemon is asked what has changed."""
_POLL_S = 10.0
"""A moved gate changes verdicts without an event."""
_REST_S = 0.25
"""A cursor that rests so long has the pictures beside it renewed."""
_WIDE = 130
_NO_SESSION = "No session has been imported yet: `elcano import DIR`, or 2 (Import), brings one."
_NO_IMAGE = "No micrograph yet: the first movie of this session that proves whole brings one. o: another session."
_FORMATS = {"defocus": ".2f", "res": ".2f", "astig": ".0f", "score": ".3f", "drift": ".1f", "ice": ".2f"}
_PLURALS = {"passes": "pass"}
_COLUMNS = (
    TableColumn("verdict", "verdict", 11),
    TableColumn("defocus", "defocus µm", 11, right=True),
    TableColumn("res", "fit Å", 6, right=True),
    TableColumn("astig", "astig Å", 8, right=True),
    TableColumn("score", "score", 6, right=True),
    TableColumn("drift", "drift Å", 8, right=True),
    TableColumn("ice", "ice", 5, right=True),
    TableColumn("why", "why", 70),
)


class MicrographsScreen(TableScreen):
    """The list. `o` chooses the session, Enter shows micrographs one by one, `a` and `x` accept and reject them."""

    NAME = "micrographs"
    NOUN: ClassVar[str] = "micrograph"

    def __init__(self) -> None:
        super().__init__()
        self.session: str | None = None
        self.why = ""
        self.album = Album()
        self.on_rows: Callable[[], None] | None = None
        """Told when rows changed; the screen that shows them one by one sets it."""
        self._known: dict[str, Micrographs] = {}
        self._is_asking = False
        self._is_outdated = False
        self._name_width = 20
        self._rest: Timer | None = None
        self._beside = ""
        """The image whose pictures stand beside the list."""
        self._trouble = ""
        self._connections = 0
        self._wanted = ""
        """The image to go to once it is known."""

    @property
    def micrographs(self) -> Micrographs:
        """What is known of the session."""
        name = self.session or ""
        return self._known.setdefault(name, Micrographs(name))

    def compose_body(self) -> ComposeResult:
        """Rows, and in a wide terminal two pictures beside them."""
        yield Lines(self._headline, fit=True)
        yield FilterBar("words of name, verdict or reason; res>6 defocus<0.8 drift>40 ice>1.5 astig>500 score<0.1")
        with Horizontal():
            yield LineTable(self._cell)
            with Vertical(id="beside"):
                yield PicturePane(self.album, id="beside-thumbnail")
                yield PicturePane(self.album, id="beside-rings")
        yield Lines(self._footline, fit=True, id="micrographs-foot")

    def on_mount(self) -> None:
        """Look again from time to time, for what no event tells."""
        self.set_interval(_POLL_S, self._poll)

    def on_resize(self, event: events.Resize) -> None:
        """Pictures stand beside the list where there is room."""
        self.set_class(event.size.width >= _WIDE, "roomy")
        self._look_beside()

    def order(self) -> Sequence[int]:
        """As they were first seen, unless sorted otherwise."""
        known, chosen = self.micrographs, MicrographFilter.parse(self.typed)
        return select_rows(
            len(known),
            keep=None if chosen.is_empty else lambda row: chosen.keeps(known.rows[row], known.verdict(row)),
            sort_by=sort_key(known, self.sort_key),
            descending=self.sort_descending,
        )

    def sort_keys(self) -> Sequence[str]:
        """Every column."""
        return ["name", *(column.key for column in _COLUMNS)]

    def draw_changes(self, changes: Changes) -> None:
        """Ask what has changed, if anything of this session did."""
        if changes.jobs_added and self.session is None:
            self.draw_all()
        mine = {job.job_id for job in self.model.jobs.rows if job.session == self.session}
        sessions = {job.summary.session_id for job in self.model.jobs.rows if job.session == self.session}
        if mine & changes.jobs_moved or sessions & changes.sessions:
            self.ask()

    def draw_all(self) -> None:
        """Draw what is known, and ask for all of it."""
        chosen = self.model.chosen_session()
        if chosen != self.session:
            self._take_session(chosen)
        if self.model.link.connections != self._connections:
            # What is known of any session may be outdated: all of it is asked for anew.
            self._connections = self.model.link.connections
            for known in self._known.values():
                known.seq = None
        self._draw_rows(None)
        self.ask()

    def draw_state(self) -> None:
        """Draw the lines around the table, and pictures beside it once the cursor rests."""
        for lines in self.query(Lines):
            if lines.parent is self:
                lines.draw()
        if self._rest is not None:
            self._rest.stop()
        self._rest = self.set_timer(_REST_S, self._look_beside)

    def row_at(self, position: int) -> MicrographRow | None:
        """Return the micrograph that stands at a position of the list."""
        order = self.table.rows.order
        return self.micrographs.rows[order[position]] if 0 <= position < len(order) else None

    def show_image(self, session: str, image: str) -> None:
        """Go to a micrograph, once it is known; a filter that hides it is dropped."""
        self._wanted = image
        self.model.choose(session)
        if session != self.session:
            self.draw_all()
        else:
            self._go_to_wanted()

    def do_open(self) -> None:
        """Show the micrograph under the cursor."""
        if self.table.cursor_row is None:
            self.tell("There is no micrograph to open.")
            return
        from tui.screens.micrograph import MicrographScreen  # noqa: PLC0415

        self.app.push_screen(MicrographScreen(self))

    def do_choose_session(self) -> None:
        """Choose another session."""
        choose_session(self, self.draw_all)

    def do_search_next(self) -> None:
        """Go to the next micrograph that does not pass."""
        self._search(backwards=False)

    def do_search_previous(self) -> None:
        """Go to the one before that does not pass."""
        self._search(backwards=True)

    def do_accept(self) -> None:
        """Accept the chosen micrographs by hand."""
        self._mark("accept")

    def do_reject(self) -> None:
        """Reject the chosen micrographs by hand."""
        self._mark("reject")

    def do_unmark(self) -> None:
        """Leave the chosen micrographs to the gates again."""
        self._mark("unmark")

    def do_why(self) -> None:
        """Say why they are accepted or rejected from now on."""

        def take(why: str | None) -> None:
            if why is not None:
                self.why = why
                self.draw_state()
                if self.on_rows is not None:
                    self.on_rows()

        self.app.push_screen(ReasonScreen(self.why), take)

    def ask(self) -> None:
        """Ask what has changed, one question at a time, and not too often."""
        if self.session is None:
            return
        if self._is_asking:
            self._is_outdated = True
            return
        self._is_asking, self._is_outdated = True, False
        self.run_beside(self._renew, group="micrographs")

    async def _renew(self) -> None:
        known = self.micrographs
        try:
            data = await self.terminal.link.ask("micrographs", {"session": known.session, "after": known.seq})
            touched = known.take(msgspec.convert(data, MicrographsAnswer))
            self._trouble = ""
            if self.is_ready and known is self.micrographs:
                self._draw_rows(touched)
        except ElcanoError as error:
            self._trouble = str(error)
            if self.is_ready:
                self._draw_rows([])
        finally:
            if self.is_ready:
                self.set_timer(_REFRESH_S, self._ask_again)
            if self.is_ready and known is not self.micrographs:
                self._is_outdated = True

    def _take_session(self, session: str | None) -> None:
        self.session = session
        self._trouble = ""
        self._is_asking = False  # what is asked of another session is no obstacle
        self.table.clear_selection()

    def _ask_again(self) -> None:
        self._is_asking = False
        if self._is_outdated:
            self.ask()

    def _poll(self) -> None:
        if self.is_current or self.on_rows is not None:
            self.ask()

    def _search(self, *, backwards: bool) -> None:
        rows, table = self.micrographs.rows, self.table
        position = find_next(
            table.rows.order, table.rows.place, lambda row: rows[row].passes is False, backwards=backwards
        )
        if position is None:
            self.tell("Every micrograph that is shown passes, or is not judged yet.")
        else:
            table.move_to(position)

    def _mark(self, verb: Verb) -> None:
        known = self.micrographs
        names = [known.rows[row].name for row in self.table.chosen() if known.may_be_judged(row)]
        mark_images(self, verb, self.session or "", names, self.why, self.ask)

    def _draw_rows(self, touched: Sequence[int] | None) -> None:
        known = self.micrographs
        self.table.empty = self._empty_words()
        longest = max([12, *(len(row.name) for row in known.rows[:200])])
        self._name_width = min(longest, max(16, self.size.width // 3))
        self.table.set_columns([TableColumn("name", "micrograph", self._name_width, fixed=True), *_COLUMNS])
        self.draw_rows(touched)
        self.draw_state()
        if self._wanted:
            self._go_to_wanted()
        if self.on_rows is not None:
            self.on_rows()

    def _go_to_wanted(self) -> None:
        row = self.micrographs.row_of(self._wanted)
        if row is None:
            return
        if self.table.rows.position_of(row) is None:
            self.query_one(FilterBar).drop()
            self.typed = ""
            self.draw_rows()
        position = self.table.rows.position_of(row)
        self._wanted = ""
        if position is not None:
            self.table.move_to(position)
            if self.on_rows is not None:
                self.on_rows()

    def _empty_words(self) -> str:
        if not self.model.link.is_connected:
            return ""
        if self.session is None:
            return _NO_SESSION
        if self._trouble:
            return show_line(self._trouble, 300)
        if self.micrographs.seq is None and not len(self.micrographs):
            return "asking…"
        return "No micrograph is as the filter says. Esc drops it." if self.typed else _NO_IMAGE

    def _look_beside(self) -> None:
        """Show the pictures of the micrograph under the cursor."""
        row = self.table.cursor_row
        if row is None or not self.has_class("roomy") or not self.is_current:
            return
        name, session = self.micrographs.rows[row].name, self.session or ""
        if self._beside == f"{session}/{name}":
            return
        self._beside = f"{session}/{name}"

        async def look() -> None:
            try:
                data = await self.terminal.link.ask("micrograph", {"session": session, "image": name})
            except ElcanoError:
                self._beside = ""  # asked again when the cursor moves; the list itself says what is the matter
                return
            if self.is_ready and self._beside == f"{session}/{name}":
                pictures = msgspec.convert(data, MicrographAnswer).pictures
                thumbnail, rings = self.query_one("#beside-thumbnail"), self.query_one("#beside-rings")
                if isinstance(thumbnail, PicturePane) and isinstance(rings, PicturePane):
                    thumbnail.look_at(session, name, find_picture(pictures, "thumbnail"), "no picture yet")
                    found = find_picture(pictures, "ctf_spectrum", "fft_picture")
                    rings.look_at(session, name, found, "no power spectrum yet")

        self.run_worker(look(), exclusive=True, group="beside")

    def _cell(self, row: int, key: str) -> Sequence[Piece]:
        told = self.micrographs.rows[row]
        if key == "name":
            return [(show_end(told.name, self._name_width), "plain")]
        if key == "verdict":
            return state_pieces(self.micrographs.verdict(row))
        if key == "why":
            words = told.reason if told.passes is False or told.gate else told.warning
            return [(show_line(words, 200), "dim")]
        return number_pieces(told, key)

    def _headline(self, width: int) -> Sequence[Sequence[Piece]]:
        del width
        if self.session is None:
            return [[(" no session", "dim")]]
        line: list[Piece] = [(" ", "plain"), *session_pieces(self.model.title_of(self.session), self.session)]
        if self.why:
            line.append((f"  because: {show_line(self.why, 60)}", "warning"))
        for word, count in self.micrographs.counts.most_common():
            if count:
                line.append((f"  {count} {_PLURALS.get(word, word)}", "plain"))
        if len(self.model.session_names()) > 1:
            line.append(("  o: another session", "dim"))
        return [line]

    def _footline(self, width: int) -> Sequence[Sequence[Piece]]:
        shown, whole = len(self.table.rows.order), len(self.micrographs)
        every = count_of(whole, self.NOUN)
        words: list[Piece] = [(f" {every}" if shown == whole else f" {shown} of {every}", "plain")]
        if self.micrographs.seq is None and self.session is not None and not self._trouble:
            words.append((" asking…", "dim"))
        if self._trouble and whole:
            words.append((f"  {show_line(self._trouble, 200)}", "warning"))
        if self.typed:
            words.append((f"  filter: {show_line(self.typed, 60)}", "warning"))
        if self.sort_key:
            words.append((f"  by {self.sort_key}", "dim"))
        if selected := self.chosen_words():
            words.append((f"  {selected}", "warning"))
        row = self.table.cursor_row
        if row is not None:
            told = self.micrographs.rows[row]
            reason = told.reason or told.warning
            words.append((f"  {show_line(reason, max(20, width))}", "dim"))
        return [words]


def number_pieces(told: MicrographRow, key: str) -> list[Piece]:
    """A number of a micrograph; a fit that is not to be trusted is marked so."""
    value: Any = NUMBERS[key](told)
    if value is None:
        return [("–", "dim")]
    doubted = told.is_fit_confident is False and key in {"defocus", "res", "astig", "score"}
    return [(f"{value:{_FORMATS[key]}}{'?' if doubted else ''}", "dim" if doubted else "plain")]
