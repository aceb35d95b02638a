"""Projects, their sessions, and the images of those level by level; branches are read when they are opened."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from daemon.messages.sessions import ImageCounts, SessionInfo, TreeAnswer, TreeNode
from tui.core.jobs import StepCount
from tui.core.selection import Filter

Key = tuple[str, ...]
"""What a row stands for: ("project", its name), ("session", its id), ("image", session id, image id), ("more", …)."""
Kind = Literal["project", "session", "image", "more"]
PAGE = 200
_LEVELS = {1: "grid", 2: "square", 3: "hole", 4: "exposure"}
NO_PROJECT = "(no project)"


@dataclass
class Branch:
    """The images below a session or an image, as far as they were read."""

    total: int | None = None
    """None before the first answer."""
    nodes: list[TreeNode] = field(default_factory=list)
    trouble: str = ""


@dataclass
class TreeRow:
    """One line; it keeps its number for as long as the tree lives."""

    key: Key
    kind: Kind
    depth: int
    name: str
    counts: ImageCounts
    session: SessionInfo | None = None
    node: TreeNode | None = None
    parent: str | None = None
    """Of which image there are more."""
    short: str = ""
    """What tells its name from that of the row above it."""

    @property
    def what(self) -> str:
        """What kind of thing it is, in a word."""
        if self.node is not None:
            return _LEVELS.get(self.node.level or 0, "image")
        return self.kind

    @property
    def steps(self) -> StepCount:
        """Its exposures as a bar shows them."""
        return StepCount(done=self.counts.done, failed=self.counts.failed, waiting=self.counts.waiting)


class SessionTree:
    """What is known of sessions, and which branches are open. Only its methods change it."""

    def __init__(self) -> None:
        self.sessions: list[SessionInfo] = []
        self.is_known = False
        self.rows: list[TreeRow] = []
        self._number_of: dict[Key, int] = {}
        self._open: set[Key] = set()
        self._closed_projects: set[str] = set()
        self._branches: dict[tuple[str, str | None], Branch] = {}

    def take_sessions(self, sessions: Sequence[SessionInfo]) -> None:
        """Take all sessions anew."""
        self.sessions, self.is_known = list(sessions), True

    def take_branch(self, answer: TreeAnswer) -> None:
        """Take a page; one from the start replaces as much as it holds."""
        branch = self.branch(answer.session_id, answer.parent)
        kept = branch.nodes[answer.offset + len(answer.nodes) :] if answer.total == branch.total else []
        branch.nodes = [*branch.nodes[: answer.offset], *answer.nodes, *kept]
        branch.total, branch.trouble = answer.total, ""

    def branch(self, session_id: str, parent: str | None) -> Branch:
        """Return what is known below a session or an image."""
        return self._branches.setdefault((session_id, parent), Branch())

    def session(self, session_id: str) -> SessionInfo | None:
        """Return a session."""
        return next((info for info in self.sessions if info.session_id == session_id), None)

    def is_open(self, row: TreeRow) -> bool:
        """Whether what is below a row is shown."""
        return row.name not in self._closed_projects if row.kind == "project" else row.key in self._open

    def can_open(self, row: TreeRow) -> bool:
        """Whether there is something below a row."""
        if row.node is not None:
            return row.node.children > 0
        return row.kind == "project" or (row.session is not None and row.session.images > 0)

    def turn(self, row: TreeRow) -> tuple[str, str | None] | None:
        """Open or close a row; return the session and image whose branch is to be read, if it was not yet."""
        if row.kind == "project":
            self._closed_projects ^= {row.name}
            return None
        self._open ^= {row.key}
        place = _place(row)
        return place if row.key in self._open and self.branch(*place).total is None else None

    def open_branches(self, session_id: str | None = None) -> list[tuple[str, str | None, int]]:
        """Return what is shown below sessions and images, with how many rows each; of one session or of all."""
        rows = [self.rows[number] for number in self.order(Filter())]
        places = [_place(row) for row in rows if row.key in self._open]
        return [
            (*place, len(self.branch(*place).nodes)) for place in places if session_id is None or place[0] == session_id
        ]

    def parent_of(self, row: TreeRow) -> int | None:
        """Return the number of the row above, one level up."""
        numbers = self.order(Filter())
        place = numbers.index(self._number_of[row.key]) if self._number_of[row.key] in numbers else -1
        above = (number for number in reversed(numbers[: max(0, place)]) if self.rows[number].depth < row.depth)
        return next(above, None)

    def order(self, chosen: Filter) -> list[int]:
        """Return the numbers of the rows to show: those that match, and whatever they lie in."""
        shown = [self._number(row) for row in self._walk()]
        if chosen.is_empty:
            return shown
        kept: list[int] = []
        needed = -1
        for number in reversed(shown):
            row = self.rows[number]
            if row.depth < needed or chosen.matches_text(_text_of(row)):
                kept.append(number)
                needed = row.depth
            elif row.depth <= needed:
                needed = -1 if row.depth == 0 else needed
        return kept[::-1]

    def _number(self, row: TreeRow) -> int:
        number = self._number_of.get(row.key)
        if number is None:
            number = self._number_of[row.key] = len(self.rows)
            self.rows.append(row)
        self.rows[number] = row
        return number

    def _walk(self) -> Iterator[TreeRow]:
        by_project: dict[str, list[SessionInfo]] = {}
        for info in reversed(self.sessions):
            by_project.setdefault(info.project or NO_PROJECT, []).append(info)
        for project, sessions in by_project.items():
            counts = sum((info.counts for info in sessions), ImageCounts())
            row = TreeRow(("project", project), "project", 0, project, counts)
            yield row
            if self.is_open(row):
                for info in sessions:
                    yield from self._walk_session(info)

    def _walk_session(self, info: SessionInfo) -> Iterator[TreeRow]:
        row = TreeRow(("session", info.session_id), "session", 1, info.title or info.name, info.counts, info)
        yield row
        if self.is_open(row):
            yield from self._walk_branch(info, None, 2, info.name)

    def _walk_branch(self, info: SessionInfo, parent: str | None, depth: int, above: str) -> Iterator[TreeRow]:
        branch = self.branch(info.session_id, parent)
        for node in branch.nodes:
            key = ("image", info.session_id, node.image_id)
            short = node.name.removeprefix(f"{above}_")
            row = TreeRow(key, "image", depth, node.name, node.counts, info, node, short=short)
            yield row
            if self.is_open(row):
                yield from self._walk_branch(info, node.image_id, depth + 1, node.name)
        left = None if branch.total is None else branch.total - len(branch.nodes)
        if left is None or left > 0 or branch.trouble:
            said = branch.trouble or ("reading…" if left is None else f"… {left} more (Enter)")
            yield TreeRow(
                ("more", info.session_id, parent or ""), "more", depth, said, ImageCounts(), info, None, parent
            )


def _place(row: TreeRow) -> tuple[str, str | None]:
    assert row.session is not None
    return row.session.session_id, row.node.image_id if row.node is not None else row.parent


def _text_of(row: TreeRow) -> str:
    if row.kind == "session" and row.session is not None:
        return f"{row.session.title} {row.session.name} {row.session.state}"
    return f"{row.name} {row.node.state}" if row.node is not None else row.name if row.kind == "project" else ""
