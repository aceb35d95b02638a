"""What the terminal costs with 10,000 images × 9 stages and 50 events a second, beside Textual's own DataTable.

Run: python -m benchmarks.tui_speed [--images 10000] [--events 50] [--seconds 20] [--keys 40]

Each terminal is a process of its own at a pseudo-terminal of 160×50, as a person has it. The events come from within
that process, decoded from their bytes as the bus delivers them, and so does the answer to what moved since; making
them counts too. Printed, Elcano and DataTable beside each other and as a ratio:

- first paint: from the start of the process until something is drawn, wall and processor. Elcano's is that of the
  real command, `elcano tui`, with no daemon running; the bus is imported after it.
- rows: until all images are on the screen, from the key that opens the job; for DataTable, from the start.
- CPU: share of a core while the events come, from the process's own times.
- key to screen: from a byte written to the pseudo-terminal until the row that the cursor moved to is drawn, while the
  events come; median and the slowest of twenty.

Goals: CPU under 10 % of a core, key to screen under 100 ms, first paint under 1 s. Exit 1 when one is missed.
"""

import argparse
import asyncio
import fcntl
import os
import pty
import select
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.rig.facility import REPOSITORY, Facility
from daemon.messages import events
from daemon.messages.catalogue import read_data
from daemon.messages.envelope import decode_envelope, utc
from daemon.messages.event_data import JobSummary
from daemon.messages.subjects import Subjects
from tui.core.link_state import LinkPhase, LinkState
from tui.core.model import News

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_COLUMNS, _ROWS = 160, 50
_STAGES = 9
_FLUSH_S = 0.2
_CPU_GOAL_PERCENT, _KEY_GOAL_MS, _PAINT_GOAL_S = 10.0, 100.0, 1.0
_PATIENCE_S = 120.0
_WHAT_ARE_YOU, _NOTHING_SPECIAL = b"\x1b[c", b"\x1b[?62c"
"""What every terminal is asked at the start, and answers."""


class Night:
    """A job whose tasks start and end, one after the other, all over the images."""

    def __init__(self, images: int) -> None:
        self.names = [f"x_{number:05d}" for number in range(images)]
        self.stages = [f"stage_{number}" for number in range(_STAGES)]
        self.states = [bytearray([2] * _STAGES) for _ in self.names]
        self._moved: dict[int, int] = {}
        self._seq = 0

    def go_on(self) -> bytes:
        """Let one task start or end, and return its event as it comes from the bus."""
        row, stage = (self._seq * 7919) % len(self.names), self._seq % _STAGES
        state = self.states[row][stage]
        self.states[row][stage] = 1 if state == 2 else 2
        self._seq += 1
        self._moved[row] = self._seq
        task = events.TaskRef("job", f"{row}-{stage}", f"i{row}", self.names[row], self.stages[stage], 1)
        if state == 2:
            told = events.step_started(Subjects(), task, at_s=time.time())
        else:
            metrics = {"defocus_u_ang": 12345.6, "fit_resolution_ang": 4.2}
            told = events.step_completed(Subjects(), task, output_files=["a"], metrics=metrics, at_s=time.time())
        return told.body()

    def matrix(self, after: int | None) -> dict[str, Any]:
        """Answer what moved since, or everything."""
        rows = range(len(self.names)) if after is None else [row for row, seq in self._moved.items() if seq > after]
        images = [
            [
                f"i{row}",
                self.names[row],
                "done",
                [[f"{row}-{n}", state, 1, ""] for n, state in enumerate(self.states[row])],
            ]
            for row in rows
        ]
        return {"job_id": "job", "session": "24dec03a", "stages": self.stages, "seq": self._seq, "images": images}

    def summary(self) -> JobSummary:
        """Return the job's counts."""
        steps = {stage: {"completed": len(self.names)} for stage in self.stages}
        at = utc(time.time())
        return JobSummary(
            job_id="job",
            session_id="id",
            session="24dec03a",
            kind="import",
            state="running",
            steps=steps,
            updated_at=at,
            created_at=at,
            session_state="open",
        )


class NightLink:
    """The way to a daemon that is not there: it tells of the night at a steady pace."""

    def __init__(self, night: Night, events_per_s: float) -> None:
        self._night = night
        self._events_per_s = events_per_s

    async def run(self, deliver: Callable[[Sequence[News]], None]) -> None:
        """Deliver what happens, five times a second."""
        night, due = self._night, 0.0
        deliver([LinkState(LinkPhase.CONNECTED, role="operator", connections=1, was_connected=True), night.summary()])
        while True:
            await asyncio.sleep(_FLUSH_S)
            due += self._events_per_s * _FLUSH_S
            told: list[News] = [read_data(decode_envelope(night.go_on())) for _ in range(int(due))]
            due -= int(due)
            deliver([*told, night.summary()])

    async def ask(self, name: str, arguments: Mapping[str, Any] | None = None, *, timeout_s: float = 30.0) -> Any:
        """Answer as the daemon does, over bytes."""
        del timeout_s
        answers: Mapping[str, Callable[[], Any]] = {
            "matrix": lambda: self._night.matrix((arguments or {}).get("after")),
            "queues": lambda: {"paused": []},
            "notifications": lambda: {"notifications": []},
        }
        return msgspec.json.decode(msgspec.json.encode(answers[name]()))


def run_elcano(images: int, events_per_s: float) -> None:
    """Be Elcano's terminal."""
    from tui.app import ElcanoTerminal

    ElcanoTerminal(NightLink(Night(images), events_per_s)).run()


def run_data_table(images: int, events_per_s: float) -> None:
    """Be the same matrix in a DataTable, its cells updated five times a second."""
    from rich.text import Text
    from textual.app import App, ComposeResult
    from textual.widgets import DataTable

    night = Night(images)
    words = {1: Text("▸ running", style="yellow"), 2: Text("✓ done", style="blue")}

    class Table(App[None]):
        def compose(self) -> ComposeResult:
            yield DataTable(cursor_type="row")

        def on_mount(self) -> None:
            table = self.query_one(DataTable)
            table.add_column("image", key="image")
            for stage in night.stages:
                table.add_column(stage, key=stage, width=12)
            for name, states in zip(night.names, night.states, strict=True):
                table.add_row(name, *(words[state] for state in states), key=name)
            table.focus()
            self.set_interval(_FLUSH_S, self.flush)
            self.due = 0.0

        def flush(self) -> None:
            self.due += events_per_s * _FLUSH_S
            table = self.query_one(DataTable)
            for _ in range(int(self.due)):
                data: Any = read_data(decode_envelope(night.go_on()))
                row = int(data.image_id[1:])
                state = night.states[row][night.stages.index(data.step)]
                table.update_cell(night.names[row], data.step, words[state])
            self.due -= int(self.due)

    Table().run()


class Screen:
    """A process at a pseudo-terminal, and what it draws there."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", _ROWS, _COLUMNS, 0, 0))
        self._began_s = time.monotonic()
        self._process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env={**environment, "TERM": "xterm-256color"}
        )
        os.close(slave)

    def wait_for(self, words: bytes, since_s: float | None = None) -> float:
        """Return how many seconds after a moment (the start) something is drawn."""
        seen = b""
        until_s = time.monotonic() + _PATIENCE_S
        while words not in seen:
            if time.monotonic() > until_s or self._process.poll() is not None:
                raise SystemExit(f"waited for {words!r}; last drawn: {seen[-300:]!r}")
            seen = (seen + self._read(0.5))[-200_000:]
        return time.monotonic() - (self._began_s if since_s is None else since_s)

    def press(self, key: bytes) -> float:
        """Press a key, and return when."""
        self._drop()
        at_s = time.monotonic()
        os.write(self._master, key)
        return at_s

    def cpu_s(self) -> float:
        """Time on a processor so far."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S

    def watch(self, seconds: float) -> None:
        """Let it draw for a while."""
        until_s = time.monotonic() + seconds
        while (left_s := until_s - time.monotonic()) > 0:
            self._read(left_s)

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        os.close(self._master)

    def _drop(self) -> None:
        while self._read(0.0):
            pass

    def _read(self, patience_s: float) -> bytes:
        ready, _, _ = select.select([self._master], [], [], patience_s)
        drawn = os.read(self._master, 65536) if ready else b""
        if _WHAT_ARE_YOU in drawn:
            os.write(self._master, _NOTHING_SPECIAL)
        return drawn


@dataclass(frozen=True)
class Cost:
    """What one terminal cost."""

    paint_s: float
    paint_cpu_s: float
    rows_s: float
    rows_cpu_s: float
    cpu_percent: float
    keys_ms: list[float]

    @property
    def slow_key_ms(self) -> float:
        """The slowest of twenty."""
        return sorted(self.keys_ms)[int(0.95 * (len(self.keys_ms) - 1))]


def measure(kind: str, options: argparse.Namespace, paint: tuple[float, float] | None) -> Cost:
    """Run one terminal through everything; `paint` is its first paint where that was measured elsewhere."""
    command = [sys.executable, "-m", "benchmarks.tui_speed", "--be", kind]
    command += ["--images", str(options.images), "--events", str(options.events)]
    screen = Screen(command, {**os.environ, "PYTHONPATH": str(REPOSITORY)})
    try:
        if kind == "elcano":
            screen.wait_for(b"24dec03a")
            screen.watch(1.0)
            began_cpu_s = screen.cpu_s()
            rows_s = screen.wait_for(b"x_00000", screen.press(b"\r"))
        else:
            began_cpu_s = 0.0
            rows_s = screen.wait_for(b"x_00000")
        rows_cpu_s = screen.cpu_s() - began_cpu_s
        screen.watch(3.0)
        before_s, began_s = screen.cpu_s(), time.monotonic()
        screen.watch(options.seconds)
        percent = 100 * (screen.cpu_s() - before_s) / (time.monotonic() - began_s)
        keys_ms = []
        for number in range(1, options.keys + 1):
            # Rows are named in their order, and the one that the cursor comes to is drawn anew.
            keys_ms.append(1000 * screen.wait_for(b"x_%05d" % number, screen.press(b"\x1b[B")))
            screen.watch(0.11)
        return Cost(*(paint or (rows_s, rows_cpu_s)), rows_s, rows_cpu_s, percent, keys_ms)
    finally:
        screen.close()


def first_paint() -> tuple[float, float]:
    """Return wall and processor seconds from the start of `elcano tui` to its first line; the best of three."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        facility = Facility.build(Path(folder))
        for _ in range(3):
            command = [sys.executable, "-m", "daemon", "tui", "--config", str(facility.config)]
            screen = Screen(command, facility.environment)
            try:
                found.append((screen.wait_for(b"Jobs"), screen.cpu_s()))
            finally:
                screen.close()
    return min(found)


def report(elcano: Cost, table: Cost) -> bool:
    """Print both beside each other; whether all goals are met."""
    lines = (
        ("first paint", "s", elcano.paint_s, None, _PAINT_GOAL_S),
        ("… processor", "s", elcano.paint_cpu_s, None, None),
        ("rows on the screen", "s", elcano.rows_s, table.rows_s, None),
        ("… processor", "s", elcano.rows_cpu_s, table.rows_cpu_s, None),
        ("CPU, share of a core", "%", elcano.cpu_percent, table.cpu_percent, _CPU_GOAL_PERCENT),
        ("key to screen, median", "ms", statistics.median(elcano.keys_ms), statistics.median(table.keys_ms), None),
        ("key to screen, 1 in 20", "ms", elcano.slow_key_ms, table.slow_key_ms, _KEY_GOAL_MS),
    )
    print(f"{'':24s} {'':3s} {'Elcano':>9s} {'DataTable':>10s} {'ratio':>7s} {'goal':>7s}")
    is_good = True
    for what, unit, ours, theirs, goal in lines:
        is_good &= goal is None or ours < goal
        beside = "" if theirs is None else f"{theirs:10.2f} {theirs / max(ours, 1e-9):6.1f}×"
        print(f"{what:24s} {unit:3s} {ours:9.2f} {beside:18s} {'' if goal is None else f'< {goal:g}':>7s}")
    return is_good


def main() -> None:
    """Measure both, or be one of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--events", type=float, default=50.0, help="events a second")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long the share of a core is measured")
    parser.add_argument("--keys", type=int, default=40, help="how many keys are pressed, 44 at most")
    parser.add_argument("--be", choices=("elcano", "table"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.be:
        {"elcano": run_elcano, "table": run_data_table}[options.be](options.images, options.events)
        return
    print(f"{options.images} images × {_STAGES} stages, {options.events:g} events/s, {_COLUMNS}×{_ROWS}")
    paint = first_paint()
    raise SystemExit(0 if report(measure("elcano", options, paint), measure("table", options, None)) else 1)


if __name__ == "__main__":
    main()
