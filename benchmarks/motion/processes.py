"""What a program costs: its time, its processors' time, and the most memory that it and its children held."""

import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_SAMPLE_S = 0.05
_LAST_WORDS_CHARACTERS = 600


class ProgramFailed(Exception):
    """A program ended badly or left nothing that can be judged."""


@dataclass(frozen=True)
class Cost:
    """Of one run. `peak_bytes`: resident memory of the process and its children together, seen 20 times a second."""

    wall_s: float
    cpu_s: float
    peak_bytes: int


def run_program(command: Sequence[str], log: Path, *, cwd: Path, environment: Mapping[str, str]) -> Cost:
    """Run a program to its end; what it says goes to `log`. Raises ProgramFailed when it cannot start or fails."""
    begun = time.perf_counter()
    with log.open("wb") as stream:
        try:
            process = subprocess.Popen(command, cwd=cwd, env=dict(environment), stdout=stream, stderr=stream)
        except OSError as error:
            raise ProgramFailed(f"{command[0]}: {error.strerror}") from error
    watch = MemoryWatch(process.pid)
    try:
        _, status, usage = os.wait4(process.pid, 0)
    except BaseException:
        process.kill()
        process.wait()
        raise
    finally:
        peak_bytes = watch.stop()
    wall_s = time.perf_counter() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        said = log.read_text(encoding="utf-8", errors="replace").strip()[-_LAST_WORDS_CHARACTERS:]
        raise ProgramFailed(f"{Path(command[0]).name} ended with code {process.returncode}: {said}")
    return Cost(wall_s, usage.ru_utime + usage.ru_stime, peak_bytes)


class MemoryWatch:
    """Looks at a process and its children while they live; `peak_bytes` is the most that was seen.

    Not ru_maxrss: Linux hands that of the parent, which may have simulated movies, down to the child.
    """

    def __init__(self, pid: int) -> None:
        self._pid, self.peak_bytes, self._over = pid, 0, threading.Event()
        self._thread = threading.Thread(target=self._look, name="memory", daemon=True)
        self._thread.start()

    def stop(self) -> int:
        """Stop looking and return the most that was seen."""
        self._over.set()
        self._thread.join()
        return self.peak_bytes

    def _look(self) -> None:
        while True:
            family = [memory_bytes(pid) for pid in family_of(self._pid)]
            together = sum(now for now, _ in family)
            # A process knows its own highest mark, also of the moments between two looks.
            self.peak_bytes = max(self.peak_bytes, together, *(highest for _, highest in family))
            if self._over.wait(_SAMPLE_S):
                return


def family_of(pid: int) -> list[int]:
    """Return a process and all its descendants, as far as they still live."""
    family = [pid]
    for member in family:
        for children in Path(f"/proc/{member}/task").glob("*/children"):
            try:
                family += map(int, children.read_text(encoding="ascii").split())
            except OSError:
                continue  # that thread has just ended
    return family


def memory_bytes(pid: int) -> tuple[int, int]:
    """Return the resident memory of a process, now and at its highest; zeros when it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return 0, 0
    values = {key: value for key, _, value in (line.partition(":") for line in lines)}
    now, highest = (int(values.get(key, "0 kB").split()[0]) * 1024 for key in ("VmRSS", "VmHWM"))
    return now, highest
