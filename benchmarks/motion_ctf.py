"""Elcano beside RELION and teamtomo on the same movies, in one run: `python -m benchmarks.motion_ctf [--case CASE …]`.

Cases: `k3` (counting, TIFF-LZW), `eer` (320 hardware frames to 40), `micrograph` (a real one, moved), `small`; all
unless named. Programs take turns, each in a process of its own with as many threads, the movie's file being in the
memory cache. Printed for each: wall and processor seconds from the file to written micrographs, peak memory of the
process with its children, and the error against the truth, as 2-D RMS over frames and field less its mean over time,
beside the Cramér–Rao bounds of the movie. The seconds of Elcano and teamtomo leave out loading their libraries, which
is said; their memory counts it. Movies take minutes to simulate: `--keep DIR` lets the next run find them.

RELION is used where `relion_run_motioncorr` is on the PATH (Debian package relion), teamtomo where `--peer-python`
names an interpreter that has it. With a CUDA device Elcano also runs there, cold and then movie after movie.
"""

import argparse
import datetime as dt
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.motion.cases import CASES, Case, CaseImpossible, PreparedMovie, prepare, scale
from benchmarks.motion.judgement import Bounds
from benchmarks.motion.processes import ProgramFailed
from benchmarks.motion.programs import (
    RELION,
    REPOSITORY,
    TEAMTOMO_COMMANDS,
    TEAMTOMO_PACKAGE,
    Elcano,
    Program,
    find_relion,
    find_teamtomo,
)
from benchmarks.motion.report import (
    GOALS,
    Row,
    bounds_line,
    describe_machine,
    judge,
    row_line,
    step_lines,
    summary_lines,
)

_WARM_MOVIES = 5


def tell(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)


def find_programs(wish: argparse.Namespace) -> list[Program]:
    """Return what there is to compare, and say what is not there and how to get it."""
    programs: list[Program] = [Elcano(wish.threads)]
    relion = find_relion(wish.threads)
    if relion is None:
        tell(f"RELION: not installed ({RELION} is not on the PATH; Debian package relion)")
    else:
        programs.append(relion)
    teamtomo = find_teamtomo(wish.peer_python, wish.threads)
    if teamtomo is None:
        tell(f"teamtomo: {TEAMTOMO_PACKAGE} not installed; make an interpreter that has it:")
        for command in TEAMTOMO_COMMANDS:
            tell(f"    {command}")
        tell("    and name it: --peer-python peer/bin/python")
    else:
        programs.append(teamtomo)
    if torch.cuda.is_available():
        programs.append(Elcano(wish.threads, device="cuda", warm_movies=_WARM_MOVIES))
    else:
        tell("Elcano-GPU: unproven, there is no CUDA device here")
    for program in programs:
        tell(f"{program.name}: {program.version}")
    return programs


def measure_movie(prepared: PreparedMovie, programs: Sequence[Program]) -> list[Row]:
    """Let the programs take turns on one movie; who begins changes with the seed."""
    truth = prepared.truth()
    bounds = Bounds.of(truth.information)
    tell(bounds_line(bounds))
    first = prepared.seed % len(programs)
    rows = []
    for program in [*programs[first:], *programs[:first]]:
        tell(f"  … {program.name}, seed {prepared.seed}")
        prepared.warm()
        work = Path(tempfile.mkdtemp(prefix="run-", dir=prepared.folder))
        try:
            attempt = program.correct(prepared, work)
            row = judge(program.name, prepared.seed, attempt, truth, bounds)
        except (ProgramFailed, ValueError) as failure:
            tell(f"  {program.name:10s} seed {prepared.seed}  FAILED: {failure}")
            continue
        finally:
            shutil.rmtree(work)
        rows.append(row)
        tell(row_line(row))
        for line in step_lines(row, prepared.case):
            tell(line)
    return rows


def measure_case(case: Case, wish: argparse.Namespace, root: Path, programs: Sequence[Program]) -> bool:
    """Make the movies of a case and measure; whether Elcano did all of them."""
    tell(f"\n{case.describe()}")
    rows: list[Row] = []
    seeds = range(wish.first_seed, wish.first_seed + wish.seeds)
    for seed in seeds:
        tell(f"  … movie of seed {seed}, simulated unless it is kept")
        try:
            prepared = prepare(case, seed, root)
        except CaseImpossible as reason:
            tell(f"  impossible here: {reason}")
            return wish.keep is None  # what lies there may be of another case
        rows += measure_movie(prepared, programs)
        if wish.keep is None:
            shutil.rmtree(prepared.folder)
    for line in summary_lines(rows, case):
        tell(line)
    return {row.seed for row in rows if row.program == "Elcano"} == set(seeds)


def measure_ctf(wish: argparse.Namespace) -> bool:
    """Run the other half, or say how."""
    command = [sys.executable, "-m", "benchmarks.ctf_accuracy"]
    if wish.peer_python is not None:
        command += ["--peer-python", str(wish.peer_python)]
    if not wish.ctf:
        tell("\nCTF: add --ctf, or run python " + " ".join(command[1:]))
        return True
    tell("\nCTF: " + " ".join(command[1:]))
    environment = {**os.environ, "OMP_NUM_THREADS": str(wish.threads)}
    return subprocess.run(command, cwd=REPOSITORY, env=environment, check=False).returncode == 0


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.motion_ctf", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--case", action="append", choices=list(CASES), help="may be given again; all unless given")
    parser.add_argument("--seeds", type=int, default=1, help="movies of each case")
    parser.add_argument("--first-seed", type=int, default=0, help="seed of the first of them")
    parser.add_argument("--size", type=int, help="square frames of this many px instead of the case's own, for trials")
    parser.add_argument("--keep", type=Path, help="folder in which movies are kept and found again")
    parser.add_argument("--threads", type=int, default=2, help="threads of every program")
    parser.add_argument("--peer-python", type=Path, help=f"interpreter in which {TEAMTOMO_PACKAGE} is installed")
    parser.add_argument("--ctf", action="store_true", help="run benchmarks.ctf_accuracy as well")
    wish = parser.parse_args(arguments)
    if min(wish.seeds, wish.threads) < 1 or (wish.size is not None and wish.size < 64):
        parser.error("--seeds and --threads need at least 1, --size at least 64")
    return wish


def main() -> int:
    """Measure what the command line asks for."""
    wish = parse_arguments()
    tell(f"{dt.datetime.now().astimezone():%Y-%m-%d %H:%M %Z}, {wish.threads} threads for every program")
    for line in describe_machine():
        tell(line)
    programs = find_programs(wish)
    tell(GOALS)
    with tempfile.TemporaryDirectory(prefix="elcano-bench-") as folder:
        root = wish.keep or Path(folder)
        done = [measure_case(scale(CASES[name], wish.size), wish, root, programs) for name in wish.case or list(CASES)]
    return 0 if all([*done, measure_ctf(wish)]) else 1


if __name__ == "__main__":
    sys.exit(main())
