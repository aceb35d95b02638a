"""Damaged movies, read in a process of its own whose memory and time are bounded: started with a folder and a count.

Prints a line for whatever is neither read nor refused with one clear sentence, and nothing when all is well.
"""

import random
import resource
import signal
import struct
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from daemon.domain.acquisition import EerFractions
from daemon.errors import ElcanoError
from daemon.formats.movie import read_movie, read_movie_header
from daemon.formats.structure import inspect_structure
from tests.formats.samples import KINDS, write_any_movie

MEMORY_BYTES = 600 * 2**20
LONGEST_S = 10
LONGEST_SENTENCE = 400
_NUMBERS = (
    b"\xff" * 4, b"\0" * 4, b"\0\0\0\x80", b"\xff\xff\xff\x7f", struct.pack("<q", 2**40), struct.pack("<q", -1),
)  # fmt: skip


def damage(whole: bytes, dice: random.Random, kind: int) -> bytes:
    """Cut a file, flip bits of it, or put numbers where counts, sizes and links stand."""
    data = bytearray(whole)
    if kind == 0:
        return bytes(data[: dice.randrange(len(data))])
    for _ in range(dice.randrange(1, 6)):
        if kind == 1:
            data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
            continue
        # Headers stand at the beginning of these files, directories there or at the end.
        place = dice.randrange(min(len(data) - 8, 1200))
        place = place if kind == 2 else len(data) - 8 - place
        number = dice.choice((*_NUMBERS, struct.pack("<I", dice.randrange(len(data)))))
        data[place : place + len(number)] = number
    return bytes(data)


def judge(path: Path, what: str, look: Callable[[], Any]) -> Any:
    """Run one look; say what went wrong if it did."""
    signal.alarm(LONGEST_S)
    try:
        return look()
    except ElcanoError as error:
        if len(error.message) > LONGEST_SENTENCE or "\n" in error.message:
            tell(f"{path.name}: {what}: no clear sentence: {error.message[:200]!r}")
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is what is looked for
        tell(f"{path.name}: {what}: {type(error).__name__}: {error}")
    finally:
        signal.alarm(0)
    return None


def tell(what: str) -> None:
    """Say what went wrong."""
    sys.stdout.write(f"{what}\n")


def _too_late(*_: object) -> None:
    raise TimeoutError(f"not over after {LONGEST_S} s")


def run(folder: Path, count: int) -> None:
    """Damage a movie of every kind so many times, and look at each."""
    signal.signal(signal.SIGALRM, _too_late)
    standing = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (standing + MEMORY_BYTES,) * 2)
    for kind in KINDS:
        whole = write_any_movie(folder, kind)
        content = whole.read_bytes()
        dice = random.Random(7)
        for number in range(count):
            path = whole.with_stem(f"{kind.replace(' ', '_')}_{number}")
            path.write_bytes(damage(content, dice, number % 4))
            judge(path, "structure", partial(inspect_structure, path))
            header = judge(path, "header", partial(read_movie_header, path))
            if header is not None and header.data_bytes < MEMORY_BYTES / 10:
                judge(path, "frames", partial(read_movie, header, eer=EerFractions(1)))
            path.unlink()


if __name__ == "__main__":
    run(Path(sys.argv[1]), int(sys.argv[2]))
