"""SIGKILL at random moments: whatever was acknowledged is there, and nothing is there by halves."""

import os
import random
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

from daemon.store.store import Store

_WRITE = """
import sys
from pathlib import Path
from daemon.domain.states import MovieState, TaskState
from daemon.store.changes import EndTask, MoveMovie, StartAttempt
from daemon.store.store import Store
from tests.store.records import METRICS, begin, complete_movie, queue_event

first = int(sys.argv[2])
store = Store.open(Path(sys.argv[1]), metrics=METRICS)
if first == 0:
    store.commit_now(*begin())
for number in range(first, first + 100_000):
    store.commit_now(*complete_movie(number), queue_event(number))
    print(number, flush=True)
    store.commit_now(StartAttempt(f"t{number}a", 1, "h"))
    store.commit_now(EndTask(f"t{number}a", TaskState.COMPLETED, 1), EndTask(f"t{number}b", TaskState.SKIPPED))
    store.commit_now(MoveMovie(f"m{number}", MovieState.DONE))
"""


def test_every_acknowledged_commit_survives(tmp_path: Path) -> None:
    path = tmp_path / "elcano.duckdb"
    rng = random.Random(20)
    first, acknowledged = 0, set[int]()
    for _ in range(5):
        acknowledged |= _write_and_kill(path, first, rng)
        first = 1 + _check(path, acknowledged)


def _write_and_kill(path: Path, first: int, rng: random.Random) -> set[int]:
    """Let a writer run, kill it a random while after some acknowledgements, return all it has acknowledged."""
    with subprocess.Popen([sys.executable, "-c", _WRITE, path, str(first)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        handle = writer.stdout.fileno()
        heard = b""
        wanted, patience_s = rng.randrange(1, 12), rng.uniform(0, 0.03)
        while heard.count(b"\n") < wanted:
            piece = os.read(handle, 4096)
            assert piece, "the writer ended by itself"
            heard += piece
        until = time.monotonic() + patience_s
        while (left := until - time.monotonic()) > 0:
            if select.select([handle], [], [], left)[0]:
                heard += os.read(handle, 4096)
        writer.send_signal(signal.SIGKILL)
        heard += writer.stdout.read()
    return {int(line) for line in heard.decode().splitlines()}


def _check(path: Path, acknowledged: set[int]) -> int:
    """Check the store and return the highest movie number in it."""
    with Store.open_read_only(path) as store:
        # What the killed writer left in the log is read without touching the file.
        (count,) = store.read_now(lambda connection: connection.execute("SELECT count(*) FROM movie").fetchall())[0]
        assert count >= len(acknowledged)
    with Store.open(path) as store:

        def numbers(sql: str) -> list[int]:
            rows = store.read_now(lambda connection: connection.execute(sql).fetchall())
            return [int(row[0]) for row in rows]

        movies = set(numbers("SELECT substr(movie_id, 2) FROM movie WHERE image_id = 'i' || substr(movie_id, 2)"))
        assert acknowledged <= movies
        assert set(numbers("SELECT substr(event_id, 2) FROM event")) == movies
        assert numbers("SELECT count(*) FROM task") == [2 * len(movies)]
        assert numbers("SELECT seq FROM event ORDER BY seq") == list(range(1, len(movies) + 1))
        seqs = numbers("SELECT seq FROM history ORDER BY seq")
        assert seqs == list(range(1, len(seqs) + 1))
        # Every state is the last one its history tells, and the two ends of a move came together.
        assert numbers(
            "SELECT count(*) FROM (SELECT subject_id, max_by(to_state, seq) AS told FROM history GROUP BY subject_id) "
            "JOIN (SELECT movie_id AS id, state FROM movie UNION ALL SELECT task_id, state FROM task) "
            "ON id = subject_id "
            "WHERE told <> state"
        ) == [0]
        assert numbers("SELECT count(*) FROM task JOIN attempt USING (task_id) WHERE state <> outcome") == [0]
    return max(movies)
