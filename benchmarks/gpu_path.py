"""What a GPU does with movies, alone on its machine: `python -m benchmarks.gpu_path [--movies N] [--trial]`.

Needs torch, numpy and scipy, and uses cupy where it is; nothing of the daemon but its numerics and the
parts of its engine that drive the card. Printed: bandwidths of the card; events counted by the kernel and its twin;
movies an hour from a file in memory to sums in memory, with the seconds of each step beside bytes ÷ bandwidth and how
busy copies and computing are; how far CPU and GPU lie apart. Without a CUDA device it says that all is unproven.
`--trial` walks the same way on small movies on the CPU instead, which proves the program and no figure.
"""

import argparse
import datetime as dt
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.gpu_machine import describe_gpu, find_what_is_missing, stand_in_for_what_is_not_used

stand_in_for_what_is_not_used()

from benchmarks.gpu_agreement import measure_agreement  # noqa: E402 - they want it done first
from benchmarks.gpu_events import measure_events  # noqa: E402
from benchmarks.gpu_line import measure_line  # noqa: E402
from benchmarks.motion.gpu import measure_bandwidths  # noqa: E402


def tell(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_path", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--movies", type=int, default=12, help="movies in a row")
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--size", type=int, nargs=2, default=(4092, 5760), metavar=("ROWS", "COLUMNS"))
    parser.add_argument("--readers", type=int, default=8, help="threads that decode")
    parser.add_argument("--trial", action="store_true", help="small movies on the CPU: proves the program, no figure")
    wish = parser.parse_args(arguments)
    if min(wish.movies, wish.readers) < 1 or wish.frames < 4 or min(wish.size) < 256:
        parser.error("--movies and --readers need at least 1, --frames 4, --size 256 each way")
    return wish


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what there is to measure; 1 where CPU and GPU disagree."""
    wish = parse_arguments(arguments)
    tell(f"{dt.datetime.now().astimezone():%Y-%m-%d %H:%M %Z}: python {' '.join(sys.orig_argv[1:])}")
    is_there = torch.cuda.is_available()
    if not is_there and not wish.trial:
        tell("GPU path: unproven, there is no CUDA device here (--trial walks the same way on the CPU)")
        return 0
    for line in find_what_is_missing():
        tell(line)
    device = torch.device("cuda", torch.cuda.current_device()) if is_there and not wish.trial else torch.device("cpu")
    bandwidths = {}
    if device.type == "cuda":
        bandwidths = measure_bandwidths(device)
        tell(describe_gpu(device, bandwidths))
    else:
        wish.movies, wish.frames, wish.size, wish.readers = 3, 8, (512, 640), 2
        tell("TRIAL on the CPU: no figure below says anything about a GPU, all of which stay unproven")
    agrees = measure_events(device, tell, small=wish.trial)
    with tempfile.TemporaryDirectory(prefix="elcano-gpu-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as at:
        measure_line(device, wish, Path(at), bandwidths, tell)
    agrees = measure_agreement(device, tell, small=wish.trial) and agrees
    tell("CPU and GPU agree within the tolerances" if agrees else "CPU and GPU DISAGREE")
    return 0 if agrees else 1


if __name__ == "__main__":
    sys.exit(main())
