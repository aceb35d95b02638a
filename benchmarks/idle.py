"""What a daemon costs while nothing happens: CPU and memory of the process and of its NATS server.

Run: python -m benchmarks.idle [--movies 10000] [--seconds 60] [--settle 15] [--threads]

Goals: at most 1 % of a core and 400 MB for all of its processes together, on an empty root and with `--movies` that
were finished long ago. Memory is the proportional set size: what is private, and a share of what others have too.
The daemon runs with its default configuration but for the three folders; `--threads` lists which of its threads used
the time. Exit 1 when a goal is missed.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import anyio

from benchmarks.recovery import write_past
from benchmarks.rig.facility import Facility

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_CPU_GOAL_PERCENT = 1.0
_MEMORY_GOAL_MB = 400.0


def cpu_s(pid: int) -> float:
    """Time on a processor that a process has used, threads included."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def proportional_mb(pid: int) -> float:
    """Memory of a process that is in RAM, what it shares divided among those who do."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("Pss:"))


def children(pid: int) -> list[int]:
    """Processes that a process started."""
    return [
        int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    ]


def thread_times_s(pid: int) -> dict[str, float]:
    """Time on a processor of each thread, by name and number."""
    times = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        name = (task / "comm").read_text().strip()
        fields = (task / "stat").read_text().rpartition(")")[2].split()
        times[f"{name} {task.name}"] = (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
    return times


def start(facility: Facility) -> subprocess.Popen[bytes]:
    """Start a daemon."""
    with (facility.root / "log").open("wb") as log:
        command = [sys.executable, "-m", "daemon", "run", "--config", str(facility.config)]
        return subprocess.Popen(command, stdout=log, stderr=log)


def wait_ready(facility: Facility, daemon: subprocess.Popen[bytes]) -> None:
    """Return once the daemon serves."""
    until_s = time.monotonic() + 300
    while "ready" not in (said := (facility.root / "log").read_text()):
        if daemon.poll() is not None or time.monotonic() > until_s:
            raise SystemExit(f"the daemon did not start:\n{said}")
        time.sleep(0.1)


def measure(facility: Facility, settle_s: float, seconds: float, *, threads: bool) -> bool:
    """Let a daemon idle, print what it used, and return whether both goals are met."""
    daemon = start(facility)
    try:
        wait_ready(facility, daemon)
        time.sleep(settle_s)
        pids = {"daemon": daemon.pid, **{f"child {pid}": pid for pid in children(daemon.pid)}}
        before, began_s = {name: cpu_s(pid) for name, pid in pids.items()}, time.monotonic()
        by_thread = thread_times_s(daemon.pid)
        time.sleep(seconds)
        wall_s = time.monotonic() - began_s
        percent = {name: 100 * (cpu_s(pid) - before[name]) / wall_s for name, pid in pids.items()}
        memory = {name: proportional_mb(pid) for name, pid in pids.items()}
        if threads:
            for name, used_s in sorted(thread_times_s(daemon.pid).items()):
                more_s = used_s - by_thread.get(name, 0.0)
                if more_s:
                    print(f"  thread {name:24s} {100 * more_s / wall_s:6.2f} %")
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(timeout=60)
    for name in pids:
        print(f"{name:12s} {percent[name]:6.2f} % of a core   {memory[name]:6.0f} MB")
    total_percent, total_mb = sum(percent.values()), sum(memory.values())
    print(f"{'together':12s} {total_percent:6.2f} % of a core   {total_mb:6.0f} MB")
    print(f"{'goal':12s} {_CPU_GOAL_PERCENT:6.2f} % of a core   {_MEMORY_GOAL_MB:6.0f} MB")
    return total_percent <= _CPU_GOAL_PERCENT and total_mb <= _MEMORY_GOAL_MB


def main() -> None:
    """Measure one idle daemon."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--movies", type=int, default=0, help="how many finished movies it knows")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long is measured")
    parser.add_argument("--settle", type=float, default=15.0, help="how long before that the daemon may calm down")
    parser.add_argument("--threads", action="store_true", help="list which threads of the daemon used the time")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        facility = Facility.build(Path(folder) / "facility")
        facility.config.write_text(
            f'[paths]\ngpfs = "{facility.gpfs}"\nhome = "{facility.home}"\nstate = "{facility.state}"\n'
        )
        if arguments.movies:
            anyio.run(write_past, facility, arguments.movies, 0)
        is_good = measure(facility, arguments.settle, arguments.seconds, threads=arguments.threads)
    raise SystemExit(0 if is_good else 1)


if __name__ == "__main__":
    main()
