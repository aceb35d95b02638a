"""A simulated microscope in a process of its own: `python -m benchmarks.rig.microscope REQUEST.json`.

The request is a list of sessions, which arrive side by side. For every movie that is written to its
end, a line of JSON with the session, the movie's name and the time goes to standard output.
"""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from daemon.simulator.arrival import Arrival
from daemon.simulator.plan import FormatChoice, MovieSize, SessionRequest, plan_session
from daemon.simulator.session import SimulationProgress, write_session


@dataclass(frozen=True)
class Exposures:
    """One session to be written under `root`; each movie grows over `write_s` in its place, 0 for at once."""

    root: str
    name: str
    movies: int
    width_px: int
    frames: int
    pixel_size_ang: float
    electrons_per_px: float
    movie_format: FormatChoice = "mixed"
    write_s: float = 0.0
    interval_s: float = 0.0
    defocus_range_ang: tuple[float, float] = (8_000.0, 22_000.0)


def expose(sessions: Sequence[Exposures], request: Path, environment: dict[str, str]) -> subprocess.Popen[str]:
    """Start the microscope; whoever calls waits for it."""
    request.write_text(json.dumps([asdict(session) for session in sessions]), encoding="utf-8")
    command = [sys.executable, "-m", "benchmarks.rig.microscope", str(request)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def read_lines(output: IO[str]) -> list[dict[str, Any]]:
    """Return what a microscope has said."""
    return [json.loads(line) for line in output]


_TELLING = threading.Lock()
"""A line and its end are two writes, between which another session's line may come."""


def _tell(name: str) -> Callable[[SimulationProgress], None]:
    def tell(progress: SimulationProgress) -> None:
        if progress.phase == "written":
            line = json.dumps({"session": name, "movie": progress.name, "at_s": time.time()})
            with _TELLING:
                print(line, flush=True)

    return tell


def _write(exposures: Exposures) -> None:
    size = MovieSize(
        exposures.width_px,
        exposures.width_px,
        exposures.frames,
        exposures.pixel_size_ang,
        exposures.electrons_per_px,
    )
    low, high = exposures.defocus_range_ang
    plan = plan_session(
        SessionRequest(exposures.name, exposures.movies, size, exposures.movie_format, defocus_range_ang=(low, high))
    )
    arrival = Arrival()
    if exposures.write_s:
        per_hour = 3600.0 / exposures.interval_s
        arrival = Arrival(per_hour, "slow", in_place=True, prepared=True, write_s=exposures.write_s)
    write_session(plan, Path(exposures.root), arrival, on_progress=_tell(exposures.name))


def main() -> None:
    """Write all sessions, side by side."""
    sessions = [Exposures(**entry) for entry in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))]
    threads = [threading.Thread(target=_write, args=(exposures,)) for exposures in sessions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
