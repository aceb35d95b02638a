"""Files that the daemon has written, and small pictures of what is in them."""

from typing import Annotated

import msgspec

from daemon.messages.arguments import Arguments
from daemon.messages.browsing import Offset

MOST_FILES = 500

FileLimit = Annotated[int, msgspec.Meta(ge=1, le=MOST_FILES)]


class ArtifactsQuery(Arguments, frozen=True, kw_only=True):
    """How many files of each kind a session has, and how large they are; none named: of all sessions."""

    session: str | None = None


class ArtifactFilesQuery(Arguments, frozen=True, kw_only=True):
    """Files of one session, of a stage and kind where given, whose paths contain a text, by path."""

    session: str
    stage: str | None = None
    kind: str | None = None
    containing: Annotated[str, msgspec.Meta(max_length=200)] = ""
    offset: Offset = 0
    limit: FileLimit = 200


class SliceQuery(Arguments, frozen=True, kw_only=True):
    """One section of an MRC file that the daemon wrote, as a small PNG; none given: the middle one."""

    session: str
    path: str
    """As the answer to `artifact.files` names it."""
    section: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] | None = None
    longest_px: Annotated[int, msgspec.Meta(ge=16, le=1024)] = 512


class ColumnsQuery(Arguments, frozen=True, kw_only=True):
    """The columns of numbers of a STAR file that the daemon wrote, thinned to so many points."""

    session: str
    path: str
    points: Annotated[int, msgspec.Meta(ge=2, le=1000)] = 200


class ArtifactGroup(msgspec.Struct, frozen=True, kw_only=True):
    """The files of one kind that one stage wrote; each file counts once, and links to raw movies not at all."""

    session_id: str
    session: str
    stage: str
    kind: str
    category: str
    """Folder in the session's home."""
    files: int
    size_bytes: int


class ArtifactsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Groups by size, largest first, and the raw movies beside them: they are linked, and no file of the daemon's."""

    groups: list[ArtifactGroup]
    raw_movies: int
    raw_bytes: int


class ArtifactFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file, on the daemon's mount."""

    path: str
    stage: str
    kind: str
    image: str
    size_bytes: int
    written_at_s: float
    sha256: str
    trouble: str
    """Why it is not as it was written: gone, another size, no answer; empty where it is."""


class ArtifactFilesAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Files from `offset` on, of `total`."""

    offset: int
    total: int
    files: list[ArtifactFile]


class SliceAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A picture as PNG, cut into pieces so that it may travel on several pages."""

    width_px: int
    height_px: int
    section: int
    sections: int
    said: str
    """What the file is: its size, its pixels."""
    pieces: list[bytes]


class StarColumn(msgspec.Struct, frozen=True, kw_only=True):
    """One column of numbers, thinned; `least` and `largest` are of all rows."""

    block: str
    label: str
    rows: int
    least: float
    largest: float
    values: list[float]


class ColumnsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Columns in the order of the file; `texts` names those that hold no numbers."""

    columns: list[StarColumn]
    texts: list[str]
