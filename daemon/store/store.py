"""The store as the rest of the daemon sees it: open, commit, read, ask."""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Self, TypeVar

from daemon.domain.states import LEFT_ALONE, MovieState, TaskState
from daemon.errors import StoreUnavailable
from daemon.store.changes import Change
from daemon.store.connection import Connection, DatabaseError, FileOwner, connect, explain_refusal, wait_for_readers
from daemon.store.left_tasks import LeftTasks, StageCounts
from daemon.store.metric_tables import ensure_tables
from daemon.store.migration import load_migrations, open_migrated, read_version, refuse_newer
from daemon.store.reading import Readers
from daemon.store.sandbox import QueryResult, UserQueries
from daemon.store.views import create_views
from daemon.store.writer import Writer

T = TypeVar("T")

_NO_METRICS: Mapping[str, type] = MappingProxyType({})


class Store:
    """One DuckDB file with one writing thread. Make it with `open` or `open_read_only`; close it when done."""

    def __init__(self, path: Path, connection: Connection, owner: FileOwner | None, writer: Writer | None) -> None:
        self.path = path
        self.outbox_floor = 0
        self._connection = connection
        self._owner = owner
        self._writer = writer
        self._readers = Readers(connection)
        self._user_queries = UserQueries(connection)
        self._left = LeftTasks(self)

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        metrics: Mapping[str, type] = _NO_METRICS,
        clock: Callable[[], float] = time.time,
        owner: FileOwner | None = None,
        patience_s: float = 0.0,
        on_wait: Callable[[], None] = lambda: None,
    ) -> "Store":
        """Open for writing, creating or upgrading the file; `metrics` maps stage names to Metrics dataclasses.

        owner: the right to it, where the caller has it already; it is the store's from now on. Who only reads it is
        waited for, patience_s at most, and on_wait called once if that takes any time.
        Raises StoreUnavailable: owned by another process, damaged, or from a newer version.
        """
        owner = owner or FileOwner(path)
        try:
            wait_for_readers(path, patience_s, on_wait)
            connection = open_migrated(path, load_migrations())
        except BaseException:
            owner.release()
            raise
        try:
            connection.begin()
            ensure_tables(connection, path, metrics)
            create_views(connection)
            connection.commit()
            return cls(path, connection, owner, Writer(path, connection, clock))
        except BaseException as error:
            connection.close()
            owner.release()
            if isinstance(error, DatabaseError):
                raise explain_refusal(path, error) from error
            raise

    @classmethod
    def open_read_only(cls, path: Path) -> "Store":
        """Open for reading while no daemon runs. Raises StoreUnavailable, also when there is no such file."""
        if not path.exists():
            raise StoreUnavailable(
                path, "there is no such file", hint="Start the daemon once, or name its state folder."
            )
        connection = connect(path, read_only=True)
        try:
            refuse_newer(path, read_version(connection, path), load_migrations()[-1].version)
        except BaseException:
            connection.close()
            raise
        return cls(path, connection, None, None)

    def close(self) -> None:
        """Write what waits, let readers end, let go of the file."""
        if self._writer is not None:
            self._writer.close()
        self._user_queries.close()
        self._readers.close()
        self._connection.close()
        if self._owner is not None:
            self._owner.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def commit(self, *changes: Change) -> None:
        """Make changes true together, or none of them; returns after COMMIT.

        What several callers commit at the same time shares one transaction; a call that is illegal
        (IllegalMove) or fails does not touch the others. Cancelling the caller does not undo the commit.
        Raises StoreUnavailable when the disk or the database gives way.
        """
        if changes:
            await asyncio.wrap_future(self._writing().submit(changes))

    def commit_now(self, *changes: Change) -> None:
        """Blocking twin of `commit`, for threads that run no event loop."""
        if changes:
            self._writing().submit(changes).result()

    async def read(self, query: Callable[[Connection], T]) -> T:
        """Run a read function on a reading thread; the table families hold them."""
        return await self._readers.read(query)

    def read_now(self, query: Callable[[Connection], T]) -> T:
        """Blocking twin of `read`."""
        return self._readers.read_now(query)

    async def user_query(self, sql: str, *, limit_rows: int = 10_000, timeout_s: float = 30.0) -> QueryResult:
        """Run one reading statement that a person wrote. Raises QueryRefused."""
        return await self._user_queries.run(sql, limit_rows=limit_rows, timeout_s=timeout_s)

    def user_query_now(self, sql: str, *, limit_rows: int = 10_000, timeout_s: float = 30.0) -> QueryResult:
        """Blocking twin of `user_query`."""
        return self._user_queries.run_now(sql, limit_rows=limit_rows, timeout_s=timeout_s)

    def count_tasks(self, job_id: str | None = None) -> dict[tuple[str, str], dict[TaskState, int]]:
        """Committed tasks by (job, stage) and state, kept up to date in memory."""
        return self._writing().current.count_tasks(job_id)

    def count_movies(self, session_id: str) -> dict[MovieState, int]:
        """Committed movies of a session by state, kept up to date in memory."""
        return self._writing().current.count_movies(session_id)

    async def count_left_tasks(self, session_ids: Collection[str] | None = None) -> dict[str, StageCounts]:
        """Committed tasks of movies that were left alone, by job; a query only where a session with such changed.

        `session_ids` unset: of all sessions.
        """
        changes = self._writing().current.count_changes(LEFT_ALONE)
        wanted = changes.keys() if session_ids is None else changes.keys() & set(session_ids)
        return await self._left.count({key: number for key, number in changes.items() if key in wanted})

    @property
    def is_alive(self) -> bool:
        """Whether commits are still written."""
        return self._writing().is_alive

    @property
    def transactions(self) -> int:
        """Transactions since opening: unchanged means that nothing is new."""
        return self._writing().transactions

    @property
    def last_event_seq(self) -> int:
        """Seq of the newest committed event, 0 before the first."""
        return self._writing().last_event_seq()

    def _writing(self) -> Writer:
        if self._writer is None:
            raise StoreUnavailable(self.path, "it is open for reading only")
        return self._writer
