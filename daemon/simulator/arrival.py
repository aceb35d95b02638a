"""When and how files arrive: at a rate, at once or growing, under a temporary name or in place."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from daemon.errors import FileNotWritten, SimulationInvalid

COPY_CHUNKS = 64
"""In so many pieces a prepared movie is copied by a slow writer."""

_SLOW_WRITE_S = 10.0
_SLOW_SHARE = 0.6


class Clock(Protocol):
    """Time as the simulator sees it; tests bring their own."""

    def now_s(self) -> float:
        """Seconds from any fixed moment."""
        ...

    def sleep(self, seconds: float) -> None:
        """Let so many seconds pass."""
        ...


class SystemClock:
    """Real time."""

    def now_s(self) -> float:
        """Seconds of the monotonic clock."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Sleep."""
        time.sleep(seconds)


@dataclass(frozen=True)
class Arrival:
    """How movies reach the raw directory.

    movies_per_hour: 0 writes as fast as possible. writer: "slow" lets each file grow over
    `write_seconds`. in_place: under the final name from the first byte; else under `<name>.part`,
    renamed when whole. prepared: all movies are made first, in a staging folder, then copied.
    """

    movies_per_hour: float = 0.0
    writer: Literal["fast", "slow"] = "fast"
    in_place: bool = False
    prepared: bool = False
    write_s: float | None = None

    def check(self) -> None:
        """Raise SimulationInvalid for figures that make no sense."""
        if not 0 <= self.movies_per_hour < float("inf"):
            raise SimulationInvalid(
                f"A rate of {self.movies_per_hour} movies per hour is impossible.", hint="Use 0 or more."
            )
        if self.write_s is not None and not 0 <= self.write_s < float("inf"):
            raise SimulationInvalid(f"A movie cannot be written in {self.write_s} s.", hint="Use 0 or more.")

    @property
    def interval_s(self) -> float:
        """Seconds from the start of one movie to the next, 0 for none."""
        return 3600.0 / self.movies_per_hour if self.movies_per_hour else 0.0

    @property
    def write_seconds(self) -> float:
        """Seconds that one file takes to grow: 60 % of the interval unless given; 0 for a fast writer."""
        if self.writer == "fast":
            return 0.0
        if self.write_s is not None:
            return self.write_s
        return _SLOW_SHARE * self.interval_s if self.movies_per_hour else _SLOW_WRITE_S


class Pace:
    """Spreads the steps of one write evenly over its time, catching up when a step took longer."""

    def __init__(self, clock: Clock, duration_s: float) -> None:
        self._clock = clock
        self._duration_s = duration_s
        self._start_s = clock.now_s()

    def after_step(self, done: int, total: int) -> None:
        """Wait until `done` of `total` steps are due."""
        if self._duration_s > 0:
            wait_until(self._clock, self._start_s + self._duration_s * done / total)


def wait_until(clock: Clock, moment_s: float) -> float:
    """Sleep until `moment_s`; return by how many seconds it had passed already."""
    late_s = clock.now_s() - moment_s
    if late_s < 0:
        clock.sleep(-late_s)
    return max(late_s, 0.0)


def deliver(target: Path, arrival: Arrival, write: Callable[[Path], None]) -> None:
    """Let `write` make the file, in place or under a temporary name. Raises FileNotWritten.

    When writing fails, a temporary file is removed; a file in place stays as it is, as after a real
    camera's failure.
    """
    if arrival.in_place:
        write(target)
        return
    temporary = target.with_name(target.name + ".part")
    try:
        write(temporary)
        temporary.replace(target)
    except OSError as error:
        raise FileNotWritten(target, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def copy_in_pieces(source: Path, target: Path, after_piece: Callable[[int, int], None]) -> None:
    """Copy a file in pieces that are visible at once; `after_piece(done, all)` follows each. Raises FileNotWritten."""
    try:
        piece_bytes = max(1, -(-source.stat().st_size // COPY_CHUNKS))
        total = max(1, -(-source.stat().st_size // piece_bytes))
        with source.open("rb") as reader, target.open("wb", buffering=0) as file:
            for done in range(1, total + 1):
                view = memoryview(reader.read(piece_bytes))
                while view:
                    view = view[file.write(view) :]
                after_piece(done, total)
    except OSError as error:
        raise FileNotWritten(target, error) from error
