"""What watching finds: plain facts handed from the poller to the discoverer and on to its sink."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from daemon.domain.movie import FileIdentity
from daemon.formats.structure import MovieStructure


@dataclass(frozen=True)
class FoundFile:
    """A movie file as it stood when it was met. `seen_at_s` is the watcher's own monotonic clock."""

    identity: FileIdentity
    seen_at_s: float
    renamed_into_place: bool = False

    @property
    def path(self) -> Path:
        """Where the file is."""
        return self.identity.path


@dataclass(frozen=True)
class ChangedFile:
    """A movie that was written again after it had been judged."""

    before: FileIdentity
    now: FoundFile


@dataclass(frozen=True)
class IgnoredFile:
    """A file that is not a movie, and why it is left alone."""

    identity: FileIdentity
    reason: str


@dataclass(frozen=True)
class KnownFile:
    """A file the ledger already holds. `settled`: judged before, so only a change makes it interesting."""

    identity: FileIdentity
    settled: bool


@dataclass(frozen=True)
class SettledMovie:
    """A movie proven complete: its final identity, what its structure says, and for how long it had been silent."""

    identity: FileIdentity
    structure: MovieStructure
    silent_for_s: float
    reason: str


@dataclass(frozen=True)
class RefusedMovie:
    """A movie that will not be processed as it is, with a reason for people."""

    identity: FileIdentity
    reason: str


@dataclass(frozen=True)
class WatchProblem:
    """Something that keeps a place from being watched, and what to do; told once when it begins.

    `is_passing`: of one file, or without loss; the log says it, people are not called.
    """

    path: Path
    what: str
    hint: str = ""
    is_passing: bool = False


@dataclass
class PollResult:
    """What one poll found out.

    `other` names files that are not movies, the first few of each suffix; `tallied` counts the rest by suffix.
    `series`: movies met before that turn out to belong to a tilt series.
    `unseen`: places that could not be looked at in this very poll, each with the reason.
    `unverified` counts restored files whose size and time have not been compared with the disk yet.
    """

    new: list[FoundFile] = field(default_factory=list)
    changed: list[ChangedFile] = field(default_factory=list)
    vanished: list[FileIdentity] = field(default_factory=list)
    other: list[IgnoredFile] = field(default_factory=list)
    tallied: dict[str, int] = field(default_factory=dict)
    problems: list[WatchProblem] = field(default_factory=list)
    recovered: list[Path] = field(default_factory=list)
    series: list[Path] = field(default_factory=list)
    unseen: dict[Path, str] = field(default_factory=dict)
    unverified: int = 0

    @property
    def has_news(self) -> bool:
        """Whether anything about movies happened."""
        return bool(self.new or self.changed or self.vanished)

    def rewrites(self, judged: Iterable[FileIdentity]) -> list[ChangedFile]:
        """Return the changes that are no mere growth; `judged`: files that were judged while this poll went on.

        A file that was met in this very poll, or judged meanwhile, was compared with what it was while it was
        written: the next poll compares it with what is known by then.
        """
        growing = {found.path for found in self.new} | {identity.path for identity in judged}
        return [
            change for change in self.changed if change.now.path not in growing or change.before == change.now.identity
        ]
