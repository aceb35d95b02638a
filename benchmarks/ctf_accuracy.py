"""How near CTF fits come to what the data allow, beside a peer: `python -m benchmarks.ctf_accuracy`.

Simulated micrographs of 2048² at 1 Å and 40 e⁻/px: five defoci of 1–3 µm, three astigmatisms, with and without a phase
plate. Elcano and teamtomo's torch-ctf-estimation take turns on the same images with as many threads each; the time
is from the image in memory to the numbers. Each error stands beside its Cramér–Rao bound: a perfect fit has a median
error of 0.67 bounds, and of 1.18 where the astigmatism is none, as its estimate cannot be negative. The bound takes the
spectra of noise and signal for known; a second one for smooth and unknown, as every fit must. `--movies N` adds
the spectra of dose-limited partial sums of damaged movies, as motion correction leaves them; `--data DIR` real
micrographs. The peer needs an interpreter of its own:

    python3.11 -m venv peer && peer/bin/pip install torch==2.13.0 torchvision==0.28.0
    peer/bin/pip install torch-ctf-estimation
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from daemon.formats.mrc import read_mrc
from daemon.numerics.bounds import CtfBound, ctf_bound
from daemon.numerics.ctf_change import measure_defocus_change
from daemon.numerics.ctf_curves import CtfNumbers
from daemon.numerics.ctf_fit import CtfFit, CtfOptions, fit_ctf
from daemon.numerics.ctf_fit_refine import BACKGROUND_SPLINES, ENVELOPE_SPLINES
from daemon.numerics.motion_plan import partial_sums
from daemon.numerics.simulation import MovieTruth, SimulatedMovie, SimulatedOptics, simulate_movie
from daemon.numerics.simulation_motion import still
from daemon.numerics.spectrum import MovieSpectrum, PartSpectra, PowerSpectrum, tile_power_spectrum
from daemon.numerics.thon import Optics

SHAPE_YX, ELECTRONS_PER_PX = (2048, 2048), 40.0
MOVIE_FRAMES = 24
DEFOCUS_ANG = (10_000.0, 15_000.0, 20_000.0, 25_000.0, 30_000.0)
ASTIGMATISM_ANG = (0.0, 500.0, 1000.0)
PHASE_DEG = (0.0, 90.0)
ANGLE_FROM_ANG = 500.0
SPLINES = (BACKGROUND_SPLINES, ENVELOPE_SPLINES)
GOALS = (
    "goals: |Δdefocus| ≤ 25 Å (95th ≤ 100), astigmatism ≤ 60 Å and ≤ 1.5 bounds, angle ≤ 4°, phase ≤ 4°, ≥ 5× faster"
)
PEER_SCRIPT = Path(__file__).parent / "peers" / "teamtomo_ctf.py"
REAL_DATA = Path(__file__).parents[1] / "../shared/data"
# Name, pixel in Å, and U, V in Å and angle in degrees of an independent fit that comes with the data.
REAL = (
    ("fei-extended.mrc", 0.85378, 10591, 10469, 122),
    ("May08_03.13.02.bin_avg.png", 1.5, 22474, 21482, 126),
    ("May08_03.15.02.bin_avg.png", 1.5, 23052, 22055, 124),
    ("May08_03.43.44.bin_avg.png", 1.5, 20664, 19831, 120),
    ("May08_04.32.27.bin_avg.png", 1.5, 17122, 16486, 135),
    ("May08_04.33.57.bin_avg.png", 1.5, 17119, 16683, 138),
    ("May08_06.09.02.bin_avg.png", 1.5, None, None, None),
)


@dataclass(frozen=True)
class Lens:
    """What a program is told of an image. `fit_phase`: a phase plate was used, its shift is not known."""

    pixel_size_ang: float
    amplitude_contrast: float
    fit_phase: bool
    voltage_kv: float = 300.0
    spherical_aberration_mm: float = 2.7


@dataclass(frozen=True)
class Found:
    """What a program says of an image, Å and degrees, and the seconds it took; `sure` None: it does not say."""

    defocus_u_ang: float
    defocus_v_ang: float
    angle_deg: float
    phase_deg: float
    seconds: float
    sure: bool | None = None

    @property
    def mean_ang(self) -> float:
        """Mean defocus."""
        return 0.5 * (self.defocus_u_ang + self.defocus_v_ang)


class Program(Protocol):
    """Finds the CTF of an image."""

    name: str

    def find(self, image_yx: Tensor, lens: Lens) -> Found:
        """Return its numbers and its time."""
        ...


class Elcano:
    """Our own fit, of an image or of a spectrum."""

    name = "Elcano"

    def find(self, image_yx: Tensor, lens: Lens) -> Found:
        """Tile, fit."""
        start = time.perf_counter()
        return self._fit(tile_power_spectrum(image_yx, lens.pixel_size_ang), lens, start)

    def find_in(self, spectrum: PowerSpectrum, lens: Lens) -> Found:
        """Fit alone."""
        return self._fit(spectrum, lens, time.perf_counter())

    def _fit(self, spectrum: PowerSpectrum, lens: Lens, start: float) -> Found:
        fit = fit_ctf(
            spectrum,
            voltage_kv=lens.voltage_kv,
            spherical_aberration_mm=lens.spherical_aberration_mm,
            amplitude_contrast=lens.amplitude_contrast,
            options=CtfOptions(fit_phase=lens.fit_phase),
        )
        elapsed_s = time.perf_counter() - start
        assert isinstance(fit, CtfFit), fit.reason
        return Found(
            fit.defocus_u_ang,
            fit.defocus_v_ang,
            fit.astigmatism_angle_deg,
            fit.phase_shift_deg,
            elapsed_s,
            fit.confident,
        )


class Peer:
    """torch-ctf-estimation in a process that stays, so that its start is not counted."""

    def __init__(self, requests: IO[str], answers: IO[str], folder: Path) -> None:
        self._requests, self._answers, self._image = requests, answers, folder / "image.npy"
        self.name = f"torch-ctf-estimation {self._answer()['version']}"

    def find(self, image_yx: Tensor, lens: Lens) -> Found:
        """Hand the image over as a file, which the peer's time does not count either."""
        np.save(self._image, image_yx.numpy())
        self._requests.write(json.dumps({"path": str(self._image), **vars(lens)}) + "\n")
        self._requests.flush()
        return Found(**self._answer())

    def _answer(self) -> dict[str, Any]:
        line = self._answers.readline()
        if not line:
            sys.exit("the peer stopped; what it said stands above")
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextmanager
def start_peer(python: Path | None) -> Iterator[Peer | None]:
    """Run the peer for a while; None, and how to get it, where it is not installed."""
    if python is None or not python.is_file():
        commands = (__doc__ or "").strip().splitlines()[-1].strip()
        print(f"peer not installed: {commands}, then --peer-python peer/bin/python")
        yield None
        return
    command = [str(python), str(PEER_SCRIPT), str(torch.get_num_threads())]
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        yield Peer(process.stdin, process.stdout, Path(folder))
        process.stdin.close()


@dataclass(frozen=True)
class Outcome:
    """Errors in Å and degrees beside their bounds; NaN where there is nothing to compare."""

    defocus_ang: float
    astigmatism_ang: float
    angle_deg: float
    phase_deg: float
    seconds: float
    bound: CtfBound
    bound_unknown: CtfBound

    def in_bounds(self, bound: CtfBound) -> tuple[float, float, float, float]:
        """Errors of defocus, astigmatism, its angle and the phase shift over their bounds."""
        return (
            self.defocus_ang / bound.defocus_ang,
            self.astigmatism_ang / bound.astigmatism_ang,
            self.angle_deg / bound.astigmatism_angle_deg,
            self.phase_deg / (bound.phase_shift_deg or math.nan),
        )


def compare(found: Found, optics: SimulatedOptics, truth: MovieTruth) -> Outcome:
    """Compare with the truth."""
    has_plate = optics.phase_shift_deg > 0
    bounds = [ctf_bound(truth, SHAPE_YX, fit_phase=has_plate, splines=splines) for splines in (None, SPLINES)]
    astigmatism = optics.defocus_u_ang - optics.defocus_v_ang
    turned = (found.angle_deg - optics.astigmatism_angle_deg + 90) % 180 - 90
    shifted = (found.phase_deg - optics.phase_shift_deg + 90) % 180 - 90
    return Outcome(
        abs(found.mean_ang - 0.5 * (optics.defocus_u_ang + optics.defocus_v_ang)),
        abs(found.defocus_u_ang - found.defocus_v_ang - astigmatism),
        abs(turned) if astigmatism >= ANGLE_FROM_ANG else math.nan,
        abs(shifted) if optics.phase_shift_deg > 0 else math.nan,
        found.seconds,
        *bounds,
    )


def draw_settings(count: int) -> list[SimulatedOptics]:
    """Microscope settings: all combinations, each at an angle of its own."""
    generator = np.random.default_rng(2024)
    settings = [
        SimulatedOptics(
            1.0,
            defocus + astigmatism / 2,
            defocus - astigmatism / 2,
            generator.uniform(-90, 90),
            phase_shift_deg=phase,
        )
        for defocus in DEFOCUS_ANG
        for astigmatism in ASTIGMATISM_ANG
        for phase in PHASE_DEG
    ]
    return settings[:count]


def expose(optics: SimulatedOptics, seed: int, frames: int) -> SimulatedMovie:
    """Expose a specimen that holds still; in one frame nothing is damaged."""
    dose = ELECTRONS_PER_PX / frames / optics.pixel_size_ang**2
    generator = torch.Generator().manual_seed(seed)
    return simulate_movie(SHAPE_YX, frames, optics, dose, generator, motion=still(SHAPE_YX, frames), damage=frames > 1)


def take_spectra(movie: SimulatedMovie, optics: SimulatedOptics) -> MovieSpectrum:
    """Take the spectra of dose-limited partial sums, as motion correction does."""
    spectra = PartSpectra(optics.pixel_size_ang)
    dose = ELECTRONS_PER_PX / MOVIE_FRAMES / optics.pixel_size_ang**2
    frames = iter(movie)
    for part in partial_sums(list(range(MOVIE_FRAMES)), dose):
        spectra.add(sum((next(frames).float() for _ in part), torch.zeros(SHAPE_YX)))
    return spectra.conclude()


def measure_micrographs(programs: list[Program], count: int, repeats: int) -> None:
    """Simulate micrographs and let the programs take turns on them."""
    outcomes: dict[str, list[Outcome]] = {program.name: [] for program in programs}
    print(f"\nSimulated micrographs of {SHAPE_YX[0]}², {ELECTRONS_PER_PX:.0f} e⁻/px, {torch.get_num_threads()} threads")
    for seed, optics in enumerate(draw_settings(count) * repeats):
        movie = expose(optics, seed, 1)
        image_yx = next(iter(movie)).float()
        has_plate = optics.phase_shift_deg > 0
        lens = Lens(optics.pixel_size_ang, optics.amplitude_contrast, has_plate)
        for program in programs:
            one = compare(program.find(image_yx, lens), optics, movie.truth)
            outcomes[program.name].append(one)
            print_outcome(seed, program.name, one)
    if count > 0:
        print_summary(outcomes)


def measure_movies(count: int) -> None:
    """Simulate damaged movies, fit the spectra of their partial sums, and look for a change of defocus: there is none.

    Settings are taken five apart, so that few movies show all defoci, then those between.
    """
    print(
        f"\nSimulated movies of {MOVIE_FRAMES} frames, {ELECTRONS_PER_PX:.0f} e⁻/px; bound of all frames, with damage"
    )
    outcomes, changes = [], []
    settings = draw_settings(30)
    for seed in [first + step for first in range(5) for step in range(0, 30, 5)][:count]:
        optics = settings[seed]
        movie = expose(optics, seed, MOVIE_FRAMES)
        spectrum = take_spectra(movie, optics)
        has_plate = optics.phase_shift_deg > 0
        found = Elcano().find_in(spectrum, Lens(optics.pixel_size_ang, optics.amplitude_contrast, has_plate))
        outcomes.append(compare(found, optics, movie.truth))
        print_outcome(seed, "Elcano", outcomes[-1])
        changes.append(find_change(spectrum, found, optics))
    print_summary({"Elcano": outcomes})
    errors, sigmas, seconds = (np.array(values) for values in zip(*changes, strict=True))
    print(
        f"change of defocus, truth 0: RMS {np.sqrt(np.mean(errors**2)):.0f} Å, median of its sigma "
        f"{np.median(sigmas):.0f} Å, RMS in sigmas {np.sqrt(np.mean((errors / sigmas) ** 2)):.2f}, "
        f"{np.median(seconds):.2f} s beside {np.median([one.seconds for one in outcomes]):.2f} s of the fit"
    )


def find_change(spectrum: MovieSpectrum, found: Found, optics: SimulatedOptics) -> tuple[float, float, float]:
    """Change of defocus through the exposure, its standard deviation, and the seconds it took."""
    numbers = CtfNumbers(found.defocus_u_ang, found.defocus_v_ang, found.angle_deg, found.phase_deg)
    lens = Optics(optics.voltage_kv, optics.spherical_aberration_mm, optics.amplitude_contrast)
    start = time.perf_counter()
    change = measure_defocus_change(spectrum.parts_myx, spectrum.pixel_size_ang, numbers, lens)
    elapsed_s = time.perf_counter() - start
    assert change is not None
    return change.change_ang, change.sigma_ang, elapsed_s


def print_outcome(number: int, name: str, one: Outcome) -> None:
    """Print a line."""
    print(
        f"{number:2d} {name:28s} Δdefocus {one.defocus_ang:7.1f} Å ({one.bound.defocus_ang:4.1f})  Δastigmatism "
        f"{one.astigmatism_ang:7.1f} Å ({one.bound.astigmatism_ang:4.1f})  Δangle {one.angle_deg:6.2f}°  "
        f"Δphase {one.phase_deg:6.2f}°  {one.seconds:6.2f} s",
        flush=True,
    )


def print_summary(outcomes: dict[str, list[Outcome]]) -> None:
    """Print medians, ratios to the bounds, and the ratio of times, taken image by image."""
    own = outcomes["Elcano"]
    for name, ones in outcomes.items():
        defocus = np.array([one.defocus_ang for one in ones])
        print(
            f"{name}, {len(ones)}: median |Δdefocus| {np.median(defocus):.1f} Å "
            f"(95th {np.percentile(defocus, 95):.1f}), "
            f"astigmatism {np.median([one.astigmatism_ang for one in ones]):.1f} Å, "
            f"angle {_median([one.angle_deg for one in ones]):.2f}°, "
            f"phase {_median([one.phase_deg for one in ones]):.2f}°; "
            f"{np.median([one.seconds for one in ones]):.2f} s, "
            f"{np.median([one.seconds / mine.seconds for one, mine in zip(ones, own, strict=True)]):.1f}× ours"
        )
        print(f"    in bounds: {_say_ratios([one.in_bounds(one.bound) for one in ones])}")
        print(f"    spectra unknown: {_say_ratios([one.in_bounds(one.bound_unknown) for one in ones])}")
    print(GOALS)


def _say_ratios(ratios: list[tuple[float, float, float, float]]) -> str:
    names = ("defocus", "astigmatism", "angle", "phase")
    return ", ".join(
        f"{name} {_median(list(each)):.2f}" for name, each in zip(names, zip(*ratios, strict=True), strict=True)
    )


def _median(values: list[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return float(np.median(known)) if known else math.nan


def measure_real(programs: list[Program], folder: Path) -> None:
    """Let the programs take turns on real micrographs, beside an independent fit; one must be called bad."""
    if not (folder / "micrographs").is_dir():
        print(f"\nreal micrographs: none in {folder}")
        return
    print("\nReal micrographs (U / V in Å @ angle; an independent fit first, tolerance 300 Å)")
    for name, pixel_size_ang, u, v, angle_deg in REAL:
        image_yx = read_image(folder / "micrographs" / name)
        print(f"{name}: " + ("ruined by drift" if u is None else f"{u} / {v} @ {angle_deg}"))
        for program in programs:
            found = program.find(image_yx, Lens(pixel_size_ang, 0.07, fit_phase=False))
            verdict = "" if found.sure is None else ", trusted" if found.sure else ", called bad"
            print(
                f"    {program.name:28s} {found.defocus_u_ang:6.0f} / {found.defocus_v_ang:6.0f} @ "
                f"{found.angle_deg % 180:4.0f}  {found.seconds:.2f} s{verdict}",
                flush=True,
            )


def read_image(path: Path) -> Tensor:
    """Read a micrograph as float32."""
    pixels_yx = np.asarray(Image.open(path)) if path.suffix == ".png" else read_mrc(path)
    return torch.from_numpy(pixels_yx.astype(np.float32))


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--peer-python", type=Path, help="interpreter in which torch-ctf-estimation is installed")
    parser.add_argument("--micrographs", type=int, default=30, help="how many of the 30 settings to simulate")
    parser.add_argument("--repeats", type=int, default=3, help="micrographs of each setting")
    parser.add_argument("--movies", type=int, default=2, help="movies to simulate, at most 30")
    parser.add_argument("--data", type=Path, default=REAL_DATA, help="folder with real micrographs")
    wish = parser.parse_args()
    with start_peer(wish.peer_python) as peer:
        programs: list[Program] = [Elcano()] if peer is None else [Elcano(), peer]
        measure_micrographs(programs, wish.micrographs, wish.repeats)
        measure_real(programs, wish.data)
    if wish.movies > 0:
        measure_movies(wish.movies)


if __name__ == "__main__":
    main()
