"""The folder that a person looks into while searching for a session to import, and what is asked about it."""

from dataclasses import dataclass
from typing import Literal

from daemon.messages.browsing import FolderAnswer, FolderEntry, PreviewAnswer
from tui.core.spans import count_of
from tui.core.states import Tone

RowKind = Literal["up", "here", "folder", "more"]
_KEPT = 200


@dataclass(frozen=True)
class FolderRow:
    """One line: the way up, the folder itself, a folder in it, or that there are more."""

    kind: RowKind
    name: str
    path: str
    """What it stands for; empty for the list of roots, and for that there are more."""
    entry: FolderEntry | None = None


class Folder:
    """What is known of one folder, page after page."""

    def __init__(self, directory: str | None = None) -> None:
        """`directory` is what was asked for; None stands for the list of roots."""
        self.asked = directory
        self.told: FolderAnswer | None = None
        self.entries: list[FolderEntry] = []
        self.rows: list[FolderRow] = []
        self.trouble = ""

    @property
    def is_roots(self) -> bool:
        """Whether it is the list of roots."""
        return self.asked is None

    def take(self, answer: FolderAnswer) -> None:
        """Take a page; the first one replaces all that was known."""
        self.entries = [*self.entries[: answer.offset], *answer.entries]
        self.told, self.trouble = answer, ""
        self.rows = list(self._rows(answer))

    def row_named(self, path: str) -> int | None:
        """Return the row that stands for a path."""
        return next((number for number, row in enumerate(self.rows) if row.kind == "folder" and row.path == path), None)

    def describe(self) -> str:
        """Say what is in it beside folders."""
        told = self.told
        if told is None:
            return ""
        if self.is_roots:
            return f"{count_of(told.total, 'root')} that the daemon may read"
        said = [count_of(told.total, "folder")]
        said += [count_of(told.movies, "movie")] if told.movies else []
        said += [count_of(told.others, "other file")] if told.others else []
        said += [] if told.is_whole else ["too much to read it all"]
        return ", ".join(said)

    def _rows(self, told: FolderAnswer) -> list[FolderRow]:
        rows = []
        if not self.is_roots:
            rows.append(FolderRow("up", "..", told.parent or ""))
            if not told.holds_sessions:
                name = "session.json" if told.has_manifest else "this folder"
                rows.append(FolderRow("here", name, told.directory))
        rows += [FolderRow("folder", entry.name, entry.path, entry) for entry in self.entries]
        left = told.total - len(self.entries)
        return [*rows, FolderRow("more", f"… {count_of(left, 'folder')} more", "")] if left > 0 else rows


def describe_row(row: FolderRow, told: FolderAnswer | None) -> tuple[str, Tone]:
    """Say what a row is, beside its name."""
    if row.kind == "up":
        return "to the roots" if not row.path else "one up", "dim"
    if row.kind == "more":
        return "Enter reads them", "dim"
    if row.kind == "here":
        has_manifest = told is not None and told.has_manifest
        return ("a session: Enter imports it", "done") if has_manifest else ("as it is, without session.json", "dim")
    assert row.entry is not None
    return _describe_entry(row.entry)


def _describe_entry(entry: FolderEntry) -> tuple[str, Tone]:
    if entry.trouble:
        return f"✗ {entry.trouble}", "failed"
    if entry.session:
        return f"✓ imported as {entry.session}, {entry.session_state}", "done"
    if entry.holds_sessions:
        return "sessions lie in it: Enter opens it", "dim"
    if entry.passed_over and not entry.has_manifest:
        return "⚠ movies, no session.json: passed over", "warning"
    return ("● session.json", "running") if entry.has_manifest else ("", "plain")


def is_worth_a_look(row: FolderRow) -> bool:
    """Whether a preview is asked for by itself: it may read a whole tree of folders."""
    if row.kind == "here":
        return True
    entry = row.entry
    if entry is None or entry.trouble or entry.holds_sessions:
        return False
    return entry.has_manifest or bool(entry.session)


class Previews:
    """Answers that were got lately, by directory; a refusal is kept as its sentence."""

    def __init__(self) -> None:
        self._kept: dict[str, PreviewAnswer | str] = {}

    def get(self, directory: str) -> PreviewAnswer | str | None:
        """Return what is known of a directory."""
        return self._kept.get(directory)

    def put(self, directory: str, found: PreviewAnswer | str) -> None:
        """Keep what was found."""
        self._kept.pop(directory, None)
        self._kept[directory] = found
        while len(self._kept) > _KEPT:
            del self._kept[next(iter(self._kept))]

    def drop(self, directory: str) -> None:
        """Forget what was found: something happened there."""
        self._kept.pop(directory, None)

    def drop_all(self) -> None:
        """Forget everything."""
        self._kept.clear()


def summarise(found: PreviewAnswer) -> list[str]:
    """Say in a few lines what importing would mean, for the question before it."""
    lines = [f"results go to {found.home}"]
    lines.append(f"{images_words(found)}; {movies_words(found)}")
    if found.values:
        lines.append(f"known: {', '.join(value.said for value in found.values)}")
    if found.missing:
        lines.append(f"nobody has said: {', '.join(map(spoken, found.missing))}")
    if found.session_state:
        lines.insert(0, "It is imported already: what has changed is taken over, and what failed for want of it runs.")
    return lines


def movies_words(found: PreviewAnswer) -> str:
    """Say how many movies there are, as far as was looked."""
    movies = found.movies
    if not movies.movies:
        return "no movie yet: they are taken as they come" if movies.is_whole else "no movie found so far"
    least = "" if movies.is_whole else "at least "
    kinds = ", ".join(movies.suffixes)
    return f"{least}{count_of(movies.movies, 'movie')}" + (f" ({kinds})" if kinds else "")


_SPOKEN = {
    "amplitude_contrast": "amplitude contrast",
    "dose_per_frame_e_per_ang2": "dose",
    "total_dose_e_per_ang2": "dose",
    "defocus_range_um": "defocus",
    "movie_pattern": "movies",
    "motion_binning": "binning",
    "phase_plate": "phase plate",
    "voltage_kv": "voltage",
    "spherical_aberration_mm": "Cs",
    "pixel_size_ang": "pixel size",
    "dose": "dose",
    "gain": "gain reference",
}


def spoken(key: str) -> str:
    """Return what people call a thing that is known, or missing, of how a session was taken."""
    return _SPOKEN.get(key, key)


def images_words(found: PreviewAnswer) -> str:
    """Say what session.json names."""
    if not found.has_manifest:
        return "no session.json: every movie becomes an image"
    levels = ", ".join(count_of(count, level) for level, count in found.levels.items() if level != "other")
    return f"session.json names {count_of(found.images, 'image')}" + (f" ({levels})" if levels else "")
