"""Reading beside the writer: a few threads, each with its own cursor on the same file."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

from daemon.store.connection import Connection

T = TypeVar("T")


class Reads(Protocol):
    """What the read functions of every table family need of a store."""

    async def read(self, query: Callable[[Connection], T]) -> T:
        """Run `query` on a reading thread and return its result; it sees every commit acknowledged before."""
        ...


class Readers:
    """A pool of reading threads. DuckDB gives each statement a consistent snapshot, so writes do not wait for them."""

    def __init__(self, connection: Connection, threads: int = 2) -> None:
        self._parent = connection.cursor()
        self._lock = threading.Lock()
        self._own = threading.local()
        self._cursors: list[Connection] = []
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="store-read", initializer=self._take_cursor)

    def _take_cursor(self) -> None:
        with self._lock:
            cursor = self._parent.cursor()
            self._cursors.append(cursor)
        self._own.cursor = cursor

    async def read(self, query: Callable[[Connection], T]) -> T:
        """Run `query` on a reading thread."""
        return await asyncio.wrap_future(self._pool.submit(lambda: query(self._own.cursor)))

    def read_now(self, query: Callable[[Connection], T]) -> T:
        """Blocking twin of `read`."""
        return self._pool.submit(lambda: query(self._own.cursor)).result()

    def close(self) -> None:
        """Let running reads end, then let go of the file."""
        self._pool.shutdown()
        for cursor in self._cursors:
            cursor.close()
        self._parent.close()
