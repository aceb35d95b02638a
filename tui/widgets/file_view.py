"""What is in a file: a picture, a section of a volume, a column of a table; asked of the daemon, and kept."""

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any, cast

import msgspec
from textual.app import ComposeResult
from textual.containers import Vertical

from daemon.errors import ElcanoError
from daemon.messages.files import ArtifactFile, ColumnsAnswer, SliceAnswer, StarColumn
from daemon.messages.micrographs import PictureAnswer
from tui.core.album import Album
from tui.core.braille import BraillePlot, range_of
from tui.core.shelf import sight_of
from tui.core.spans import count_of, show_bytes, show_moment, show_number
from tui.core.text import show_line
from tui.terminal import terminal_of
from tui.widgets.lines import Lines
from tui.widgets.paragraphs import Line, pair_lines, text_lines
from tui.widgets.picture import Picture

_LONGEST_PX = 512
_MOST_TEXTS = 6


class FileView(Vertical):
    """Shows the file that it was last asked to look at; `step` goes to the next section or column."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's word
        super().__init__(id=id)
        self._album = Album()
        self._session = ""
        self._file: ArtifactFile | None = None
        self._words = ""
        self._section: int | None = None
        self._sections = 0
        self._columns: ColumnsAnswer | None = None
        self._column = 0
        self._said: dict[Any, tuple[str, int, int]] = {}

    def compose(self) -> ComposeResult:
        """Facts above, the sight below."""
        yield Lines(self._facts, fit=True, id="file-facts")
        yield Picture(id="file-picture")
        yield Lines(self._plot, id="file-plot")

    def on_mount(self) -> None:
        """Nothing is looked at yet."""
        self._draw()

    def look_at(self, session: str, file: ArtifactFile | None) -> None:
        """Show a file; the same one again stays as it is."""
        if (session, file) == (self._session, self._file):
            return
        self._session, self._file, self._words = session, file, ""
        self._section, self._sections, self._columns, self._column = None, 0, None, 0
        self.query_one(Picture).say("")
        self._ask()

    def step(self, by: int) -> bool:
        """Go to another section or column; False where there is none."""
        if self._columns is not None and self._columns.columns:
            self._column = (self._column + by) % len(self._columns.columns)
            self._draw()
            return True
        if self._sections > 1 and self._section is not None:
            self._section = (self._section + by) % self._sections
            self._ask()
            return True
        return False

    def _ask(self) -> None:
        self.workers.cancel_node(self)
        self._draw()
        file = self._file
        sight = "" if file is None else sight_of(file)
        if file is None or not sight:
            return
        asks = {"picture": self._fetch_picture, "section": self._fetch_section, "columns": self._fetch_columns}
        session = self._session

        async def fetch() -> None:
            try:
                await asks[sight](session, file)
            except ElcanoError as error:
                self._words = show_line(error, 300)
                self.query_one(Picture).say("")
            self._draw()

        if sight != "columns" and self._section is None:
            self.query_one(Picture).say("…")
        self.run_worker(cast("Any", fetch), group="fetching", exclusive=True)

    async def _fetch_picture(self, session: str, file: ArtifactFile) -> None:
        key = (session, file.path, file.sha256)
        png = self._album.get(key)
        if png is None:
            asked = {"session": session, "image": file.image, "kind": file.kind, "longest_px": _LONGEST_PX}
            answer = msgspec.convert(await self._link("picture", asked), PictureAnswer)
            png = b"".join(answer.pieces)
            self._album.put(key, png)
        self.query_one(Picture).show(png)

    async def _fetch_section(self, session: str, file: ArtifactFile) -> None:
        key = (session, file.path, file.sha256, self._section)
        png = self._album.get(key)
        if png is None:
            asked = {"session": session, "path": file.path, "section": self._section, "longest_px": _LONGEST_PX}
            answer = msgspec.convert(await self._link("artifact.slice", asked), SliceAnswer)
            png = b"".join(answer.pieces)
            self._album.put(key, png)
            self._said[key] = (answer.said, answer.section, answer.sections)
        self._words, self._section, self._sections = self._said[key]
        self.query_one(Picture).show(png)

    async def _fetch_columns(self, session: str, file: ArtifactFile) -> None:
        asked = {"session": session, "path": file.path}
        self._columns = msgspec.convert(await self._link("artifact.columns", asked), ColumnsAnswer)

    async def _link(self, name: str, asked: Mapping[str, Any]) -> Any:
        return await terminal_of(self).link.ask(name, asked, timeout_s=60.0)

    def _draw(self) -> None:
        if not self.is_mounted:
            return
        columns = self._columns is not None
        self.query_one("#file-plot").display = columns
        self.query_one("#file-picture").display = not columns
        for lines in self.query(Lines):
            lines.draw()

    def _facts(self, width: int) -> Sequence[Line]:
        file = self._file
        if file is None:
            return [[(" Move to a file: what is in it is shown here.", "dim")]]
        path = PurePath(file.path)
        lines: list[Line] = [[(f" {show_line(path.name, 160)}", "strong")]]
        if file.trouble:
            lines += text_lines(f"{file.trouble}: the step that made it can be run again", width, "failed", sign="✗ ")
        now_s = terminal_of(self).clock_s()
        written = f"{show_bytes(file.size_bytes)}, {show_moment(file.written_at_s, now_s)}, by {file.stage}"
        lines += pair_lines([("in", str(path.parent)), ("written", written)], width)
        if self._sections > 1 and self._section is not None:
            lines += text_lines(f"section {self._section + 1} of {self._sections}: ] next, [ before", width)
        if self._words:
            lines += text_lines(self._words, width, "dim")
        if not sight_of(file) and not file.trouble:
            lines += text_lines("There is no preview of such a file; y copies its path.", width, "dim")
        return lines

    def _plot(self, width: int) -> Sequence[Line]:
        columns = self._columns
        if columns is None:
            return []
        if not columns.columns:
            return [[("   no column of numbers: " + ", ".join(columns.texts[:_MOST_TEXTS]), "dim")]]
        column = columns.columns[self._column % len(columns.columns)]
        place = f"{self._column % len(columns.columns) + 1} of {count_of(len(columns.columns), 'column')}"
        name = show_line(f"{column.block} {column.label}".strip(), 100)
        head: Line = [(f"   {name}", "strong"), (f"  {place}: ] next, [ before", "dim")]
        extent = f"   {show_number(column.least)} … {show_number(column.largest)}, {count_of(column.rows, 'row')}"
        return [head, [(extent, "plain")], *self._curve(column, width)]

    def _curve(self, column: StarColumn, width: int) -> list[Line]:
        rows = max(1, self.query_one("#file-plot").size.height - 2)
        if len(column.values) < 2:
            return [[(f"   {show_number(column.values[0])}", "plain")]] if column.values else []
        plot = BraillePlot(max(4, width - 4), rows, (0.0, len(column.values) - 1.0), range_of(column.values))
        plot.curve([float(at) for at in range(len(column.values))], column.values, "done")
        return [[("   ", "plain"), *line] for line in plot.lines()]
