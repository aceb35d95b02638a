"""SIGKILL at random moments across all formats and stages: the same bytes, every movie done once, the audit clean.

Run: nice python -m benchmarks.kills [--kills 30] [--seed 1] [--folder DIR]

Tiny simulated sessions (one movie of every kind that the simulator writes) come in one by one. A daemon is started and
killed again and again, each time some random while after it was started, or after it was seen at work. In the end one
run finishes what is left, and everything is compared with a facility that nobody disturbed. Exits 1 on any difference.
`tests/faults/test_kill.py` is the short form.
"""

import argparse
import json
import random
import re
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

from benchmarks.rig.facility import (
    STAGES,
    Facility,
    RunningDaemon,
    check_completed,
    fingerprint,
    read_tree,
    receive,
    temporary_files,
)
from benchmarks.rig.sessions import QUICK, prepare_session
from daemon.domain.identity import stable_id

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
MOVIES = 6
"""Of each session: two kinds of MRC, of TIFF and of EER."""

_LONGEST_S = 6.0
_AFTER_WORK_BEGAN_S = 2.5


def bring_in(prepared: Path, raw_directory: Path) -> None:
    """Let a session come in, with identities of its own."""
    receive(prepared, raw_directory, manifest=False)
    text = (prepared / "session.json").read_text(encoding="utf-8")
    text = _UUID.sub(lambda found: stable_id(found[0], raw_directory.name), text)
    content = json.loads(text)
    content["msession"]["name"] = raw_directory.name
    (raw_directory / "session.json").write_text(json.dumps(content), encoding="utf-8")


def strike(facility: Facility, daemon: RunningDaemon, rng: random.Random) -> str:
    """Wait for a random moment, kill, and say when it was."""
    if rng.random() < 0.3:
        moment = f"{(delay_s := rng.uniform(0.1, _LONGEST_S)):.2f} s after its start"
        time.sleep(delay_s)
    else:
        known = count_records(facility)
        daemon.wait_until(lambda: count_records(facility) > known or all_done(facility), "a record")
        delay_s = rng.uniform(0.0, _AFTER_WORK_BEGAN_S)
        moment = f"{delay_s:.2f} s after its first result"
        time.sleep(delay_s)
    daemon.kill()
    return moment


def sessions_of(facility: Facility) -> list[str]:
    """Return the sessions that have come in."""
    return sorted(path.name for path in facility.gpfs.iterdir())


def count_records(facility: Facility) -> int:
    """Return how many tasks have their record on disk."""
    return sum(len(facility.records(session)) for session in sessions_of(facility))


def all_done(facility: Facility) -> bool:
    """Whether every task of every session that came in has a record."""
    return count_records(facility) >= len(sessions_of(facility)) * MOVIES * len(STAGES)


def compare(torn: Facility, calm: Facility, before: object) -> list[str]:
    """Return every difference between the two, and whatever else must not be."""
    problems = []
    try:
        check_completed(torn, movies=len(sessions_of(torn)) * MOVIES)
    except AssertionError as error:
        problems.append(f"states, attempts, history and events do not tell one story: {error}")
    wanted, got = (
        {n: d for n, d in read_tree(f.home, leave_out=(".elcano",)).items() if "/tables/" not in n}
        for f in (calm, torn)
    )
    problems += [f"missing: {name}" for name in wanted.keys() - got.keys()]
    problems += [f"unknown: {name}" for name in got.keys() - wanted.keys()]
    differing = [name for name in wanted.keys() & got.keys() if wanted[name] != got[name]]
    problems += [f"other bytes: {name}{_first_difference(torn.home / name, calm.home / name)}" for name in differing]
    problems += [f"left behind: {path}" for path in temporary_files(torn.home)]
    problems += [f"event not told: {event.id}" for event, published in torn.outbox() if not published]
    audit = torn.elcano("audit", "--deep")
    if audit.code != 0:
        problems.append(f"audit: {audit.out}{audit.err}")
    if fingerprint(torn.gpfs) != before:
        problems.append("raw data changed")
    return sorted(problems)


def _first_difference(path: Path, calm: Path) -> str:
    """Return what differs first in two texts, "" for other files."""
    if path.suffix not in {".json", ".star", ".txt"}:
        return ""
    texts = path.read_text(encoding="utf-8"), calm.read_text(encoding="utf-8")
    at = next((place for place, (one, other) in enumerate(zip(*texts, strict=False)) if one != other), 0)
    got, wanted = (text[max(0, at - 60) : at + 60] for text in texts)
    return f": {got!r} instead of {wanted!r}"


def run(folder: Path, kills: int, seed: int) -> list[str]:
    """Kill so often, then compare; returns what is wrong."""
    rng = random.Random(seed)
    prepared = prepare_session(folder, replace(QUICK, name="quick_all", movies=MOVIES, movie_format="all"))
    torn = Facility.build(folder / "torn", gpfs=folder / "gpfs")
    print(f"{'kill':>4}  {'sessions':>8}  {'records':>7}  {'unfinished':>10}  moment")
    for number in range(1, kills + 1):
        if not sessions_of(torn) or all_done(torn):
            bring_in(prepared, torn.gpfs / f"night{len(sessions_of(torn)) + 1:02}")
        with torn.running() as daemon:
            moment = strike(torn, daemon, rng)
        counts = f"{len(sessions_of(torn)):>8}  {count_records(torn):>7}  {len(temporary_files(torn.home)):>10}"
        print(f"{number:>4}  {counts}  {moment}", flush=True)
    before = fingerprint(torn.gpfs)
    calm = Facility.build(folder / "calm", gpfs=torn.gpfs)
    problems = [
        f"the last run ended with {end.code}: {end.err}" for end in (torn.run_once(), calm.run_once()) if end.code != 0
    ]
    interrupted = torn.rows("SELECT stage FROM attempt JOIN task USING (task_id) WHERE outcome = 'interrupted'")
    stages = Counter(row["stage"] for row in interrupted)
    print("interrupted attempts:", ", ".join(f"{stage} {stages[stage]}" for stage in STAGES))
    problems += compare(torn, calm, before)
    files = len(read_tree(torn.home))
    print(f"{kills} kills, {len(sessions_of(torn)) * MOVIES} movies, {files} files: {len(problems)} difference(s)")
    return problems


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=None, help="where to work; default: a temporary folder")
    arguments = parser.parse_args()
    if arguments.folder is not None:
        arguments.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=arguments.folder, prefix="kills-") as folder:
        problems = run(Path(folder), arguments.kills, arguments.seed)
    for problem in problems:
        print(problem)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
