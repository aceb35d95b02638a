"""How fast movies are read, beside tifffile on the same files: `python benchmarks/reading.py [FOLDER]`.

Prints seconds (best of three) and the ratio peer ÷ Elcano, for one and two threads. The files are
simulated: eight K3 frames of 1 e⁻/px as TIFF-LZW and as 4-bit MRC, and 120 Falcon frames of 0.05 e⁻/px
as EER. tifffile is the peer, but for what it cannot read: 4-bit MRC is read beside numpy unpacking
the whole file at once, and EER 65000 beside tifffile on the same events as 65001.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile

from daemon.domain.acquisition import EerFractions
from daemon.formats.eer_scheme import EER_65000, EER_65001, EerScheme
from daemon.formats.eer_writer import EerWriter
from daemon.formats.movie import read_movie, read_movie_header
from daemon.formats.mrc_writer import write_mrc
from daemon.formats.tiff_writer import TiffMovieWriter

K3_SHAPE_YX, K3_FRAMES = (4092, 5760), 8
FALCON_SHAPE_YX, HARDWARE_FRAMES, EVENTS_PER_PIXEL = (4096, 4096), 120, 0.05
FRACTIONS = EerFractions(fractions=8)


def write_k3_movie(path: Path) -> None:
    """Write Poisson counts as a camera would."""
    generator = np.random.default_rng(1)
    writer = TiffMovieWriter(path, K3_SHAPE_YX, "uint8", compression="lzw")
    for _ in range(K3_FRAMES):
        writer.append(generator.poisson(1.0, K3_SHAPE_YX).astype(np.uint8))
    writer.close()


def write_packed_movie(path: Path) -> None:
    """Write the same counts two to a byte."""
    generator = np.random.default_rng(1)
    movie_tyx = generator.poisson(1.0, (K3_FRAMES, *K3_SHAPE_YX)).astype(np.uint8)
    write_mrc(path, movie_tyx, pixel_size_ang=1.0, camera_nibbles=True)


def unpack_with_numpy(path: Path) -> npt.NDArray[Any]:
    """Read the file whole and interleave both halves of its bytes: K3 frames are of even width."""
    packed = np.fromfile(path, np.uint8, offset=1024)
    return np.stack([packed & 15, packed >> 4], axis=-1).reshape(K3_FRAMES, *K3_SHAPE_YX)


def write_falcon_movie(path: Path, scheme: EerScheme) -> None:
    """Write events that are spread evenly."""
    generator = np.random.default_rng(2)
    writer = EerWriter(path, FALCON_SHAPE_YX, metadata={}, scheme=scheme)
    for _ in range(HARDWARE_FRAMES):
        writer.append(generator.random(FALCON_SHAPE_YX, dtype=np.float32) < EVENTS_PER_PIXEL, generator)
    writer.close()


def read_eer_with_tifffile(path: Path, threads: int) -> npt.NDArray[Any]:
    """Sum hardware frames to fractions, page by page, with tifffile's own decoder."""
    group = HARDWARE_FRAMES // FRACTIONS.fractions
    sums_tyx = np.zeros((FRACTIONS.fractions, *FALCON_SHAPE_YX), np.uint8)
    with tifffile.TiffFile(path) as tiff:
        for index, page in enumerate(tiff.pages):
            sums_tyx[index // group] += page.asarray(maxworkers=threads)
    return sums_tyx


def best_of_three(work: Callable[[], npt.NDArray[Any]]) -> tuple[float, npt.NDArray[Any]]:
    """Return the shortest wall time in s, and the result."""
    times_s = []
    for _ in range(3):
        start = time.perf_counter()
        result = work()
        times_s.append(time.perf_counter() - start)
    return min(times_s), result


def compare(name: str, path: Path, read_peer: Callable[[int], npt.NDArray[Any]]) -> None:
    """Print one line for each number of threads, after both results were found equal."""
    for threads in (1, 2):
        ours_s, ours = best_of_three(lambda: read_movie(read_movie_header(path), eer=FRACTIONS, threads=threads))  # noqa: B023
        peer_s, peer = best_of_three(lambda: read_peer(threads))  # noqa: B023
        if not np.array_equal(ours, peer):
            raise SystemExit(f"{name}: Elcano and the peer read different pixels")
        times = f"Elcano {ours_s:6.2f} s  peer {peer_s:6.2f} s  ratio {peer_s / ours_s:5.2f}"
        print(f"{name}  {threads} thread(s)  {times}")


def main() -> None:
    """Write both movies to a folder and read them."""
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as folder:
        tiff, packed = Path(folder) / "k3.tif", Path(folder) / "k3.mrc"
        eer, fixed = Path(folder) / "falcon.eer", Path(folder) / "falcon_65000.eer"
        write_k3_movie(tiff)
        write_packed_movie(packed)
        write_falcon_movie(eer, EER_65001)
        write_falcon_movie(fixed, EER_65000)
        for path in (tiff, packed, eer, fixed):
            print(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB")
        compare("TIFF-LZW ", tiff, lambda threads: tifffile.imread(tiff, key=slice(None), maxworkers=threads)[:, ::-1])
        compare("MRC 101  ", packed, lambda threads: unpack_with_numpy(packed))  # noqa: ARG005
        compare("EER 65001", eer, lambda threads: read_eer_with_tifffile(eer, threads))
        compare("EER 65000", fixed, lambda threads: read_eer_with_tifffile(eer, threads))


if __name__ == "__main__":
    main()
