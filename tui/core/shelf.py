"""The files of one session as they are browsed: lots by kind, then the files of one lot, then what is in one."""

from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal

from daemon.messages.files import ArtifactFile, ArtifactFilesAnswer, ArtifactGroup, ArtifactsAnswer
from tui.core.spans import count_of, show_bytes

Sight = Literal["picture", "section", "columns", ""]
PAGE = 200
_SIGHTS: dict[str, Sight] = {
    ".png": "picture",
    ".jpg": "picture",
    ".jpeg": "picture",
    ".mrc": "section",
    ".mrcs": "section",
    ".map": "section",
    ".star": "columns",
}


@dataclass(frozen=True)
class Lot:
    """Which files are asked for."""

    stage: str
    kind: str
    category: str
    files: int
    size_bytes: int

    @classmethod
    def of(cls, group: ArtifactGroup) -> "Lot":
        """Read a group."""
        return cls(group.stage, group.kind, group.category, group.files, group.size_bytes)


class Shelf:
    """What is known of the files of one session; None: of all, by session."""

    def __init__(self, session: str) -> None:
        self.session = session
        self.told: ArtifactsAnswer | None = None
        self.lots: list[Lot] = []
        self.lot: Lot | None = None
        """The one that is open."""
        self.containing = ""
        self.files: list[ArtifactFile] = []
        self.total: int | None = None
        self.trouble = ""

    def take_groups(self, answer: ArtifactsAnswer) -> None:
        """Take all lots anew."""
        self.told, self.lots, self.trouble = answer, [Lot.of(group) for group in answer.groups], ""

    def open(self, lot: Lot) -> None:
        """Look into a lot."""
        self.lot, self.containing = lot, ""
        self.files, self.total, self.trouble = [], None, ""

    def seek(self, containing: str) -> None:
        """Ask for files whose paths contain a text; those that are shown stay until the answer comes."""
        self.containing = containing
        self.total = None

    def leave(self) -> None:
        """Back to the lots."""
        self.lot = None

    def take_files(self, answer: ArtifactFilesAnswer) -> None:
        """Take a page; one from the start replaces all."""
        self.files = [*self.files[: answer.offset], *answer.files]
        self.total, self.trouble = answer.total, ""

    @property
    def left(self) -> int:
        """How many files were not read yet."""
        return max(0, (self.total or 0) - len(self.files))

    def describe(self) -> str:
        """Say how much there is."""
        if self.told is None:
            return "asking…"
        files, size = sum(lot.files for lot in self.lots), sum(lot.size_bytes for lot in self.lots)
        words = f"{count_of(files, 'file')}, {show_bytes(size)}"
        raw = self.told.raw_movies
        if raw:
            words += (
                f"; beside them {count_of(raw, 'raw movie')} of {show_bytes(self.told.raw_bytes)}, linked, not copied"
            )
        return words


def sight_of(file: ArtifactFile) -> Sight:
    """Return in which way a file can be looked at; empty where it cannot."""
    sight = _SIGHTS.get(PurePath(file.path).suffix.lower(), "")
    return "" if file.trouble or (sight == "picture" and not file.image) else sight
