"""Elcano's own process: `python -m benchmarks.motion.elcano_process REQUEST ANSWER`, both JSON files.

Loading torch and the numerics is timed apart: a daemon loads them once for all its movies.
"""

import json
import sys
import time
from pathlib import Path

from benchmarks.motion.elcano_job import Job


def main(request: Path, answer: Path) -> None:
    """Load, correct, answer."""
    job = Job(**json.loads(request.read_text(encoding="utf-8")))
    begun = time.perf_counter()
    from benchmarks.motion.elcano_run import correct

    loading_s = time.perf_counter() - begun
    measured = correct(job)
    answer.write_text(json.dumps({"loading_s": loading_s, **measured}), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
