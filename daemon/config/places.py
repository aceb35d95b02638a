"""Where configured paths really are: a mount that does not answer must keep no command, and no daemon, from starting.

A thread stuck in the kernel cannot be killed. Each path is therefore followed on a thread of its own, which can be left
behind; while it hangs, its path is taken as it is named, at once.
"""

import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

_LIMIT_S = 3.0


class _Look:
    """One path followed on a thread of its own."""

    def __init__(self, path: Path, follow: Callable[[Path], Path]) -> None:
        self._path = path
        self._follow = follow
        self.found = path_as_named(path)
        self.answered = threading.Event()
        threading.Thread(target=self._run, name="elcano-place", daemon=True).start()

    def _run(self) -> None:
        try:
            self.found = self._follow(self._path)
        except (OSError, RuntimeError):
            pass  # a circle of links, or nobody may look: whoever opens it is told
        finally:
            self.answered.set()


class RealPlaces:
    """Follows links for as long as it may take; what does not answer is taken as it is named."""

    def __init__(
        self,
        follow: Callable[[Path], Path] = Path.resolve,
        *,
        limit_s: float = _LIMIT_S,
        wait: Callable[[Path, threading.Event, float], bool] = lambda _path, answered, left_s: answered.wait(left_s),
    ) -> None:
        """`limit_s` is how long all the paths of one call together may take; `wait` waits for the look at a path."""
        self._follow = follow
        self._limit_s = limit_s
        self._wait = wait
        self._lock = threading.Lock()
        self._hung: dict[Path, _Look] = {}

    def real_paths(self, paths: Iterable[Path]) -> Mapping[Path, Path]:
        """Return where each path really is. All are asked at once; one that hangs is not asked again."""
        looks = {path: self._begin(path) for path in dict.fromkeys(paths)}
        until_s = time.monotonic() + self._limit_s
        for path, look in looks.items():
            is_known_to_hang = self._hung.get(path) is look
            left_s = 0.0 if is_known_to_hang else max(0.0, until_s - time.monotonic())
            if not self._wait(path, look.answered, left_s):
                with self._lock:
                    self._hung[path] = look
        return {path: look.found if look.answered.is_set() else path_as_named(path) for path, look in looks.items()}

    def real_path(self, path: Path) -> Path:
        """Return where one path really is."""
        return self.real_paths([path])[path]

    def _begin(self, path: Path) -> _Look:
        with self._lock:
            hung = self._hung.get(path)
            if hung is not None and not hung.answered.is_set():
                return hung
            self._hung.pop(path, None)
        return _Look(path, self._follow)


def path_as_named(path: Path) -> Path:
    """Return a path without `..`, as it is written: nothing is looked at."""
    return Path(os.path.normpath(path))


REAL_PLACES = RealPlaces()
"""Of this process: every command and every reading of the configuration knows what hangs."""
