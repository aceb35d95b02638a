"""Names of images: Leginon's grammar, and the one name each image gets and keeps.

A Leginon name is `<session>[_<grid>]_NNNNNgr_NNNNNsq[_vNN]_NNNNNhl_NNNNNex`; each step into the
tree grid → square → hole → exposure (or focus, `fc`) adds a token, a repeated visit adds `vNN`.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePath

from daemon.domain.names import LONGEST_NAME, name_problem
from daemon.sessions.matching import movie_stem

_TOKEN = re.compile(r"(\d{5})(gr|sq|hl|ex|fc)")
_VISIT = re.compile(r"v\d{2,}")
_EDGES = re.compile(r"^[\s.]+|[\s.]+$")
_KEPT_CHARACTERS = 60
_KEPT_BYTES = 150


class ImageKind(StrEnum):
    """What an image shows."""

    GRID = "gr"
    SQUARE = "sq"
    HOLE = "hl"
    EXPOSURE = "ex"
    FOCUS = "fc"

    @property
    def level(self) -> int:
        """Depth in the tree, 1 for a grid."""
        return {"gr": 1, "sq": 2, "hl": 3, "ex": 4, "fc": 4}[self.value]


@dataclass(frozen=True)
class LeginonName:
    """A name taken apart; `session` includes the grid label where there is one."""

    session: str
    kind: ImageKind
    number: int
    visit: str | None
    parent: str | None


def parse_leginon_name(name: str) -> LeginonName | None:
    """Take a Leginon name apart; None when it is not one."""
    tokens = name.split("_")
    visit = tokens.pop() if len(tokens) > 1 and _VISIT.fullmatch(tokens[-1]) else None
    last = _TOKEN.fullmatch(tokens[-1])
    if last is None:
        return None
    above = tokens[:-1]
    start = next(n for n, token in enumerate(tokens) if _TOKEN.fullmatch(token))
    if start == 0:
        return None
    return LeginonName(
        session="_".join(tokens[:start]),
        kind=ImageKind(last[2]),
        number=int(last[1]),
        visit=visit,
        parent="_".join(above) if len(above) > start else None,
    )


def safe_name(text: str) -> str:
    """Return `text` when it can be a file name, else a cleaned form that stays unique by a digest."""
    if not name_problem(text):
        return text
    cleaned = "".join("_" if character in "/\\" or name_problem(f"a{character}a") else character for character in text)
    cleaned = _EDGES.sub("", cleaned)[:_KEPT_CHARACTERS].encode()[:_KEPT_BYTES].decode(errors="ignore")
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:8]
    return f"{cleaned}-{digest}" if cleaned else digest


class ImageNames:
    """Gives every movie of one session a name that no other movie has, once.

    `given` restores what was given before: pairs of a movie's path relative to the raw directory and its name.
    """

    def __init__(self, given: Iterable[tuple[PurePath, str]] = ()) -> None:
        self._given = dict(given)
        self._taken = set(self._given.values())

    def give(self, movie: PurePath, record_name: str | None = None) -> str:
        """Return the movie's name: its record's, else its stem, on collision `<folder>__<stem>`.

        `movie` is relative to the raw directory. Asked again, the answer is the same.
        """
        if movie in self._given:
            return self._given[movie]
        name = next(name for name in self._choices(movie, record_name) if name not in self._taken)
        self._given[movie] = name
        self._taken.add(name)
        return name

    def _choices(self, movie: PurePath, record_name: str | None) -> list[str]:
        stem = movie_stem(movie.name) or movie.stem
        choices = [safe_name(record_name or stem)]
        longer = stem
        for folder in reversed(movie.parent.parts):
            longer = f"{folder}__{longer}"
            choices.append(safe_name(longer))
        # The same path under another suffix has used up every folder; the digest of the whole path has not.
        digest = hashlib.sha256(movie.as_posix().encode(errors="surrogatepass")).hexdigest()
        kept = safe_name(stem)[: LONGEST_NAME - 40]
        return [*choices, safe_name(f"{kept}-{digest[:8]}"), safe_name(f"{kept}-{digest[:32]}")]
