"""Sessions as they are browsed: each at a glance, one to its bottom, and its images level by level."""

from typing import Annotated

import msgspec

from daemon.messages.arguments import Arguments, Reason
from daemon.messages.browsing import Offset

MOST_NODES = 500
LONGEST_TITLE = 200

NodeLimit = Annotated[int, msgspec.Meta(ge=1, le=MOST_NODES)]


class SessionRename(Arguments, frozen=True, kw_only=True):
    """Give a session another title, for people; name, folders and files stay. An empty one takes it away."""

    session: str
    title: Annotated[str, msgspec.Meta(max_length=LONGEST_TITLE)]
    why: Reason = ""


class SessionReport(Arguments, frozen=True, kw_only=True):
    """Write the HTML report of a session into its home."""

    session: str
    why: Reason = ""


class SessionQuery(Arguments, frozen=True, kw_only=True):
    """All there is to say of one session, named or by id."""

    session: str


class TreeQuery(Arguments, frozen=True, kw_only=True):
    """Images of a session directly below one (by id), or those at the top, by name, with counts of all below each."""

    session: str
    parent: str | None = None
    offset: Offset = 0
    limit: NodeLimit = 200


class ImageCounts(msgspec.Struct, frozen=True, array_like=True):
    """Exposures by how far they are, and by what the gates say of them."""

    exposures: int = 0
    """Images with a movie; those whose movie was left alone do not count."""
    done: int = 0
    failed: int = 0
    """Of which a step failed, or whose movie was set aside as broken."""
    waiting: int = 0
    passing: int = 0
    refused: int = 0
    """By a gate; what failed is not refused, nor is what a person rejected."""
    rejected: int = 0
    """By hand."""

    def __add__(self, other: "ImageCounts") -> "ImageCounts":
        """Return the counts of both together."""
        return ImageCounts(
            *(a + b for a, b in zip(msgspec.structs.astuple(self), msgspec.structs.astuple(other), strict=True))
        )


class SessionInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One session at a glance."""

    session_id: str
    name: str
    title: str
    """As people named it, else empty."""
    project: str
    state: str
    created_at_s: float
    closed_at_s: float | None
    raw_directory: str
    home: str
    job_id: str
    images: int
    """Images of any level."""
    counts: ImageCounts


class SessionsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Every session, oldest first."""

    sessions: list[SessionInfo]


class TreeNode(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """One image, and how the exposures below it (itself among them) stand."""

    image_id: str
    name: str
    level: int | None
    """1 grid, 2 square, 3 hole, 4 exposure; None where nobody has said."""
    children: int
    state: str
    """Of its own movie, empty where it has none."""
    passes: bool | None
    reason: str
    """Why the gates refuse it, who rejected it, or why it failed, cut to one line."""
    counts: ImageCounts
    by_hand: bool = False
    """Whether a person decided."""


class TreeAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Nodes from `offset` on, of `total`."""

    session_id: str
    parent: str | None
    offset: int
    total: int
    nodes: list[TreeNode]


class OpticsGroup(msgspec.Struct, frozen=True, kw_only=True):
    """Movies that were taken alike."""

    number: int
    images: int
    said: str


class SessionNote(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a person was told of the session."""

    at_s: float
    severity: str
    message: str
    hint: str


class SessionAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """All there is to say of one session."""

    session_id: str
    imported_by: str
    titled_by: str
    """Who gave it its title, where it has one."""
    manifest: dict[str, str]
    """What session.json says of the session itself: its ids, its description, its project."""
    acquisition: list[tuple[str, str]]
    stages: list[str]
    optics_groups: list[OpticsGroup]
    left_alone: list[str]
    refusals: dict[str, int]
    """Exposures that the gates refuse, by gate, most first."""
    lacking: dict[str, int]
    """Exposures that could not be judged, by the step that gave no numbers."""
    latency: str
    notes: list[str]
    """What nobody has given, and what the results lack for it."""
    troubles: list[str]
    """Places of it that cannot be watched now."""
    told: list[SessionNote]
    closing: str
    """Why it is going to be closed and what it still waits for; empty where it is not."""
    report: str
    """Where its report lies, empty where none was written."""
