"""Kernel events as a wake-up: they shorten the wait for the next poll, and name what to look at first.

Events are lost in overflows, missing for directories made a moment ago, and silent on network file systems; the poll
finds everything with or without them.
"""

import os
import threading
from collections.abc import Callable
from pathlib import Path

from watchdog.events import (
    DirCreatedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from daemon.watchers.mounts import find_mount

# Not "modified": a camera that writes 10 GB would raise an event for every block.
_EVENTS: list[type[FileSystemEvent]] = [
    DirCreatedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileMovedEvent,
]

MOST_NAMES = 1000
"""More names between two polls are not kept: one listing is cheaper then."""


class KernelHints:
    """Calls `wake` from a thread of its own when something happens under a directory on a local file system."""

    def __init__(self, root: Path, wake: Callable[[], None]) -> None:
        """Prepare; `wake` must be cheap, safe to call from any thread, and coalesce by itself."""
        self._root = root
        self._wake = wake
        self._observer: BaseObserver | None = None
        self._names: set[str] = set()
        self._lock = threading.Lock()

    def take_names(self) -> list[str]:
        """Return the paths that something happened to since the last call; none after more than MOST_NAMES."""
        with self._lock:
            names, self._names = self._names, set()
        return sorted(names) if len(names) <= MOST_NAMES else []

    def start(self) -> None:
        """Begin to listen. Walks the tree once; raises OSError when the kernel grants no more watches."""
        observer = Observer()
        observer.daemon = True
        try:
            observer.schedule(_Waker(self._note), str(self._root), recursive=True, event_filter=_EVENTS)
            observer.start()
        except OSError:
            observer.stop()  # it holds a thread and a descriptor from the moment it is made
            raise
        self._observer = observer

    def stop(self) -> None:
        """Stop listening and wait for the thread; harmless when nothing was started."""
        if self._observer is not None:
            self._observer.stop()
            self._observer.join()
            self._observer = None

    def _note(self, event: FileSystemEvent) -> None:
        with self._lock:
            for path in (event.src_path, event.dest_path):
                if path and len(self._names) <= MOST_NAMES:
                    self._names.add(os.fsdecode(path))
        self._wake()


def listen_where_local(root: Path, wake: Callable[[], None]) -> KernelHints | None:
    """Listen to a directory if the kernel hears every writer there; None elsewhere. Raises OSError as `start` does."""
    mount = find_mount(root)
    if mount is None or not mount.is_local or not root.is_dir():
        return None
    hints = KernelHints(root, wake)
    hints.start()
    return hints


class _Waker(FileSystemEventHandler):
    def __init__(self, note: Callable[[FileSystemEvent], None]) -> None:
        self._note = note

    def on_any_event(self, event: FileSystemEvent) -> None:
        self._note(event)
