"""The ledger side of one session on a temporary folder: real store, real import, callbacks that are kept."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from daemon.config.acquisition import AcquisitionSettings
from daemon.domain.movie import FileIdentity, LedgerEntry
from daemon.domain.states import TaskState
from daemon.messages.subjects import Subjects
from daemon.pipeline.graph import StageGraph
from daemon.sessions.book import SessionBook
from daemon.sessions.importing import ImportedSession, ImportRequest, ImportRules, import_session
from daemon.sessions.intake import SessionIntake
from daemon.store import ledger, tasks
from daemon.store.rows import TaskRow
from daemon.store.store import Store

SUBJECTS = Subjects()
STAGES = ("motion_correction", "ctf_estimation")
START_S = 1_700_000_000.0


def identify(path: Path) -> FileIdentity:
    """How a file stands now."""
    status = path.stat()
    return FileIdentity(path, status.st_size, status.st_mtime_ns)


class Desk:
    """One daemon's view; a second desk on the same folder is the next daemon."""

    def __init__(self, folder: Path, *, session: str = "24dec03a") -> None:
        self.folder = folder
        self.raw = folder / "gpfs" / session
        self.frames = self.raw / "frames"
        self.frames.mkdir(parents=True, exist_ok=True)
        self.home = folder / "home"
        self.now_s = START_S
        self.store = Store.open(folder / "state" / "store.duckdb", clock=lambda: self.now_s)
        self.offered: list[tuple[str, float]] = []
        self.withdrawn: list[str] = []
        self.reconsidered: list[FileIdentity] = []
        self.told = 0
        self.gains_found = 0
        self._imported: ImportedSession | None = None
        self._intake: SessionIntake | None = None

    def close(self) -> None:
        self.store.close()

    @property
    def imported(self) -> ImportedSession:
        assert self._imported is not None
        return self._imported

    @property
    def intake(self) -> SessionIntake:
        assert self._intake is not None
        return self._intake

    @property
    def session_id(self) -> str:
        return self.imported.book.session.session_id

    async def open_session(
        self,
        directory: Path | None = None,
        *,
        name: str | None = None,
        acquisition: AcquisitionSettings | None = None,
        link_frames: bool = False,
        stages: Sequence[str] = STAGES,
        asked_by: str = "",
        book: SessionBook | None = None,
        read_limit_s: float = 30.0,
        graph: StageGraph | None = None,
    ) -> None:
        """Import a session and make its intake."""
        request = ImportRequest(directory or self.raw, name, acquisition, tuple(stages), asked_by)
        rules = ImportRules([self.folder / "gpfs"], self.home, 0o027, None, ("motioncor", "ctf"))
        if graph is not None:
            rules = replace(rules, graph=graph)
        self._imported = await import_session(self.store, SUBJECTS, request, rules, book=book)
        self._intake = SessionIntake(
            self.store,
            self._imported.book,
            self._imported.folders,
            SUBJECTS,
            link_frames=link_frames,
            on_complete=lambda movie_id, last_write_s: self.offered.append((movie_id, last_write_s)),
            on_withdrawn=self.withdrawn.append,
            on_event=self._tell,
            on_reconsider=self.reconsidered.append,
            on_gain_found=self._note_gain,
            slugs={"motion_correction": "motioncor", "ctf_estimation": "ctf"},
            clock_s=lambda: self.now_s,
            read_limit_s=read_limit_s,
        )

    def _tell(self) -> None:
        self.told += 1

    def _note_gain(self) -> None:
        self.gains_found += 1

    def write_manifest(self, content: Any, directory: Path | None = None) -> None:
        """Write session.json."""
        directory = directory or self.raw
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "session.json").write_text(json.dumps(content))

    def file(self, relative: str, size_bytes: int = 100, mtime_s: float = START_S - 60) -> FileIdentity:
        """A file as watching sees it; intake never opens it."""
        return FileIdentity(self.raw / relative, size_bytes, int(mtime_s * 1e9))

    async def movies(self) -> list[LedgerEntry]:
        """Every ledger entry of the session."""
        return await ledger.movies(self.store, self.session_id)

    async def revisions(self, relative: str) -> list[LedgerEntry]:
        """Every revision of one file, oldest first."""
        found = [entry for entry in await self.movies() if entry.identity.path == self.raw / relative]
        return sorted(found, key=lambda entry: entry.revision)

    async def newest(self, relative: str) -> LedgerEntry:
        """The newest revision of a file."""
        return (await self.revisions(relative))[-1]

    async def tasks_of(self, movie: LedgerEntry) -> list[TaskRow]:
        """Tasks of one revision in stage order."""
        return await tasks.tasks(self.store, movie_id=movie.movie_id)

    async def states_of(self, movie: LedgerEntry) -> list[TaskState]:
        """States of a revision's tasks in stage order."""
        return [task.state for task in await self.tasks_of(movie)]

    async def moves_of(self, movie: LedgerEntry) -> list[str]:
        """States that a movie went through."""
        moves = await ledger.history(self.store, movie.movie_id)
        return [move.to_state for move in moves if move.subject == "movie"]

    async def events(self) -> list[dict[str, Any]]:
        """Every envelope of the outbox in order, with its id and stream."""

        def read(connection: Any) -> list[tuple[str, str, bytes]]:
            rows: list[tuple[str, str, bytes]] = connection.execute(
                "SELECT event_id, stream, body FROM event ORDER BY seq"
            ).fetchall()
            return rows

        return [
            {**msgspec.json.decode(body), "event_id": event_id, "stream": stream}
            for event_id, stream, body in await self.store.read(read)
        ]

    async def event_kinds(self) -> list[str]:
        """Types of all events, without their common beginning."""
        return [event["type"].removeprefix("magellon.") for event in await self.events()]
