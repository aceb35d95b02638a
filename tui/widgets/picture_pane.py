"""A picture of a micrograph with its title: asked of the daemon, which may run on another machine, and kept."""

from typing import Any

import msgspec
from textual.app import ComposeResult
from textual.containers import Vertical

from daemon.errors import ElcanoError
from daemon.messages.micrographs import PictureAnswer, PictureInfo
from tui.core.album import Album
from tui.core.text import show_line
from tui.terminal import terminal_of
from tui.widgets.lines import Lines
from tui.widgets.picture import Picture

TITLES = {
    "thumbnail": "micrograph",
    "ctf_spectrum": "Thon rings: measured left, fit right",
    "ctf_plot": "CTF fit",
    "fft_picture": "spectrum",
    "motion_plot": "motion",
}
"""Kinds of pictures in people's words, in the order in which they are looked at; others follow by their own names."""
_SMALL_PX, _LARGE_PX = 256, 512


def picture_order(info: PictureInfo) -> tuple[int, str]:
    """Return what pictures are put in order by."""
    kinds = list(TITLES)
    return (kinds.index(info.kind) if info.kind in TITLES else len(kinds), info.kind)


class PicturePane(Vertical):
    """Shows the picture that it was last asked to look at."""

    def __init__(self, album: Album, *, id: str | None = None) -> None:  # noqa: A002 - Textual's word
        super().__init__(id=id)
        self._album = album
        self._title = ""
        self._line = Lines(lambda _: [[(f" {self._title}", "dim")]], fit=True)
        self.picture = Picture()

    def compose(self) -> ComposeResult:
        """A line, and the picture below."""
        yield self._line
        yield self.picture

    def look_at(self, session: str, image: str, info: PictureInfo | None, otherwise: str = "") -> None:
        """Show a picture of a micrograph; `otherwise` is said where there is none."""
        self._entitle("" if info is None else TITLES.get(info.kind, show_line(info.kind, 40)))
        self.workers.cancel_node(self)
        if info is None:
            self.picture.say(otherwise)
            return
        key = (session, image, info.kind, info.sha256, self._longest_px())
        png = self._album.get(key)
        if png is not None:
            self.picture.show(png)
            return
        self.picture.say("…")
        arguments = {"session": session, "image": image, "kind": info.kind, "longest_px": key[-1]}

        async def fetch() -> None:
            try:
                data = await terminal_of(self).link.ask("picture", arguments)
            except ElcanoError as error:
                self.picture.say(show_line(error, 300))
                return
            png = b"".join(msgspec.convert(data, PictureAnswer).pieces)
            self._album.put(key, png)
            self.picture.show(png)

        self.run_worker(fetch(), exclusive=True, group="fetching")

    def _longest_px(self) -> int:
        """No more than can be seen: half cells show two pixels a cell."""
        if self.picture.has_graphics:
            return 2 * _LARGE_PX if self.size.width > 80 else _LARGE_PX
        return _SMALL_PX if max(self.size.width, 2 * self.size.height) <= _SMALL_PX else _LARGE_PX

    def _entitle(self, title: str) -> None:
        self._title = title
        self._line.draw()


def find_picture(pictures: list[PictureInfo], *kinds: str) -> PictureInfo | None:
    """Return the first of these kinds that there is."""
    by_kind: dict[str, Any] = {info.kind: info for info in pictures}
    return next((by_kind[kind] for kind in kinds if kind in by_kind), None)
