"""Notice session directories under the watched roots: a directory there that holds a session.json."""

import errno
import os
import stat
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import anyio

from daemon.domain.movie import FileIdentity
from daemon.domain.names import is_left_alone
from daemon.formats.detached import DetachedCall
from daemon.watchers.found import WatchProblem
from daemon.watchers.passed_over import PassedOver
from daemon.watchers.paths import Places
from daemon.watchers.problems import LEAVES_ROOTS, Obstacle, refusal
from daemon.watchers.selection import is_temporary

MANIFEST_NAME = "session.json"


@dataclass
class FinderResult:
    """What one poll of the roots found out. A manifest is told once it has stayed the same for two polls.

    `passed_over` names folders that were now found to hold movies and no manifest.
    """

    found: list[FileIdentity] = field(default_factory=list)
    updated: list[FileIdentity] = field(default_factory=list)
    problems: list[WatchProblem] = field(default_factory=list)
    recovered: list[Path] = field(default_factory=list)
    passed_over: list[Path] = field(default_factory=list)


class SessionFinder:
    """Polls the roots for session directories directly under them. Synchronous; costs one stat for each directory."""

    def __init__(
        self,
        roots: Sequence[Path],
        *,
        allowed_roots: Sequence[Path] = (),
        known: Sequence[FileIdentity] = (),
        pattern: str | None = None,
    ) -> None:
        """Watch `roots`; links may lead under them or `allowed_roots`. `known` manifests are told only when changed.

        `pattern` says which files are movies, for naming the folders that hold some and no manifest.
        """
        self._roots = tuple(roots)
        self._allowed = Places((*roots, *allowed_roots))
        self._told: dict[Path, FileIdentity] = {identity.path: identity for identity in known}
        self._last: dict[Path, FileIdentity] = {}
        self._problems: dict[Path, Obstacle] = {}
        self._passed_over = PassedOver(self._roots, pattern)

    @property
    def passed_over(self) -> tuple[Path, ...]:
        """Every folder under the roots, or root, that holds movies and no manifest, as of the last poll."""
        return self._passed_over.folders

    @property
    def problems(self) -> dict[Path, str]:
        """What cannot be watched under the roots, and why, as of the last poll."""
        return {path: obstacle.what for path, obstacle in self._problems.items()}

    def know(self, manifest: FileIdentity) -> None:
        """Take a manifest for told: it is told again only when it changes."""
        self._told[manifest.path] = manifest

    def forget(self, manifest: Path) -> None:
        """Tell a manifest anew should it come back: its session went elsewhere."""
        self._told.pop(manifest, None)

    def poll(self) -> FinderResult:
        """Look once."""
        result, current, troubled = FinderResult(), {}, dict[Path, Obstacle]()
        bare: list[Path] = []
        for root in self._roots:
            for directory in self._directories(root, troubled):
                identity = self._manifest(directory, troubled)
                if identity is not None:
                    current[identity.path] = identity
                elif directory not in troubled:
                    bare.append(directory)
            if root not in troubled:
                bare.append(root)
        result.passed_over = self._passed_over.update(bare)
        troubled |= self._passed_over.obstacles
        for path, identity in current.items():
            if self._last.get(path) == identity and self._told.get(path) != identity:
                (result.updated if path in self._told else result.found).append(identity)
                self._told[path] = identity
        self._last = current
        result.problems = [
            WatchProblem(path, *obstacle) for path, obstacle in troubled.items() if self._problems.get(path) != obstacle
        ]
        result.recovered = [path for path in self._problems if path not in troubled]
        self._problems = troubled
        return result

    def _directories(self, root: Path, troubled: dict[Path, Obstacle]) -> list[Path]:
        try:
            with os.scandir(root) as entries:
                names = [entry.name for entry in entries if _may_be_session(entry.name) and _is_directory(entry)]
        except OSError as error:
            troubled[root] = refusal("cannot be watched", error)
            return []
        return [root / name for name in sorted(names)]

    def _manifest(self, directory: Path, troubled: dict[Path, Obstacle]) -> FileIdentity | None:
        path = directory / MANIFEST_NAME
        try:
            status = path.stat()
            if not stat.S_ISREG(status.st_mode):
                return None
            if path not in self._told and not self._allowed.hold(os.path.realpath(path)):
                troubled[directory] = LEAVES_ROOTS
                return None
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                troubled[directory] = refusal("cannot be looked at", error)
            return None
        return FileIdentity(path, status.st_size, status.st_mtime_ns)


def _may_be_session(name: str) -> bool:
    return not (is_temporary(name) or is_left_alone(name))


def _is_directory(entry: os.DirEntry[str]) -> bool:
    """The listing itself tells, except for links; a link that cannot be followed is no session."""
    try:
        return entry.is_dir()
    except OSError:
        return False


class SessionSink(Protocol):
    """Takes the session directories that appear."""

    async def session_found(self, manifest: FileIdentity) -> None:
        """Take a new session directory by its manifest."""
        ...

    async def session_updated(self, manifest: FileIdentity) -> None:
        """Take a manifest that was written anew."""
        ...

    async def troubled(self, problems: Sequence[WatchProblem]) -> None:
        """Take what keeps roots or sessions from being watched."""
        ...

    async def recovered(self, paths: Sequence[Path]) -> None:
        """Take places whose trouble is over."""
        ...

    async def passed_over(self, folders: Sequence[Path]) -> None:
        """Take folders that hold movies and no manifest, each once."""
        ...


async def watch_sessions(
    finder: SessionFinder, sink: SessionSink, *, poll_s: float = 2.0, on_look: Callable[[], None] = lambda: None
) -> None:
    """Poll the roots until cancelled and tell the sink, of each session beside the others.

    A root that does not answer holds up nothing else. `on_look` is called after every look at which the sink had taken
    all sessions told by then.
    """
    under_way: set[FileIdentity] = set()

    async def tell(told: Callable[[FileIdentity], Awaitable[None]], manifest: FileIdentity) -> None:
        await told(manifest)
        under_way.discard(manifest)

    async with anyio.create_task_group() as group:
        while True:
            call = DetachedCall(finder.poll)
            await call.wait(float("inf"))
            result = call.result()
            # A session of ten thousands of images takes long to import: others do not wait for it.
            for told, manifests in ((sink.session_found, result.found), (sink.session_updated, result.updated)):
                for manifest in manifests:
                    under_way.add(manifest)
                    group.start_soon(tell, told, manifest)
            if result.problems:
                await sink.troubled(result.problems)
            if result.recovered:
                await sink.recovered(result.recovered)
            if result.passed_over:
                await sink.passed_over(result.passed_over)
            if not under_way:
                on_look()
            await anyio.sleep(poll_s)
