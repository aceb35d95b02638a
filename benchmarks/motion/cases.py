"""The movies that programs are compared on: made once from a seed, as files, with their truth beside them."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from benchmarks.motion.judgement import GRID_NODES, MotionTruth, picture_information
from daemon.formats.eer_writer import EerWriter
from daemon.formats.mrc import read_mrc
from daemon.formats.mrc_writer import MrcWriter, write_mrc
from daemon.formats.tiff_writer import TiffMovieWriter
from daemon.numerics.bounds import movie_shift_information
from daemon.numerics.simulation import SimulatedOptics, default_motion, simulate_movie
from daemon.numerics.simulation_detector import CountedMovie, build_detector, draw_gain, draw_seed
from daemon.numerics.simulation_micrograph import MicrographMovie, micrograph_margin_px, relative_intensity
from daemon.numerics.simulation_motion import SpecimenMotion

VOLTAGE_KV, SPHERICAL_ABERRATION_MM, AMPLITUDE_CONTRAST = 300.0, 2.7, 0.1
REAL_MICROGRAPH = Path(__file__).parents[2] / "../shared/data/micrographs/fei-extended.mrc"
_HOT_PIXELS = 200
_BRIGHTEST_SIGMA = 10.0


class CaseImpossible(Exception):
    """A case cannot be made here, or what lies in its folder is another one."""


@dataclass(frozen=True)
class Case:
    """A kind of movie. `raw_per_frame`: hardware frames summed to one that is aligned; patches are RELION's."""

    name: str
    movie_name: str
    shape_yx: tuple[int, int]
    frames: int
    pixel_size_ang: float
    dose_per_frame_e_per_ang2: float
    patches_yx: tuple[int, int]
    raw_per_frame: int = 1
    source: Literal["specimen", "micrograph"] = "specimen"

    @property
    def electrons_per_px(self) -> float:
        """Mean electrons per pixel of a frame that is aligned."""
        return self.dose_per_frame_e_per_ang2 * self.pixel_size_ang**2

    @property
    def decoded_bytes(self) -> int:
        """Size of the movie in memory, one byte a pixel."""
        return self.frames * self.shape_yx[0] * self.shape_yx[1]

    def describe(self) -> str:
        """Say what it is, in a line."""
        height, width = self.shape_yx
        raw = f" of {self.raw_per_frame} hardware frames each" if self.raw_per_frame > 1 else ""
        made_of = "a real micrograph" if self.source == "micrograph" else "a simulated specimen"
        return (
            f"{self.name}: {self.frames} frames{raw} of {width} × {height} px, {self.pixel_size_ang:g} Å, "
            f"{self.electrons_per_px:.2f} e⁻/px/frame, {Path(self.movie_name).suffix[1:]}, {made_of}"
        )


CASES = {
    case.name: case
    for case in (
        Case("k3", "movie.tif", (4092, 5760), 40, 0.83, 1 / 0.83**2, (5, 7)),
        Case("eer", "movie.eer", (4096, 4096), 40, 0.75, 1.0, (5, 5), raw_per_frame=8),
        Case("micrograph", "movie.mrc", (3838, 3710), 40, 0.85378, 1.0, (5, 5), source="micrograph"),
        Case("small", "movie.mrc", (1024, 1024), 20, 1.0, 1.0, (3, 3)),
    )
}


@dataclass(frozen=True)
class PreparedMovie:
    """A movie on disk, its gain and its truth. The gain lies as the file's own rows do, and fits RELION's rules."""

    case: Case
    seed: int
    folder: Path

    @property
    def movie(self) -> Path:
        """The movie."""
        return self.folder / self.case.movie_name

    @property
    def gain(self) -> Path:
        """Its gain reference, an MRC file; beside an EER movie it divides, else it multiplies."""
        return self.folder / "gain.mrc"

    @property
    def is_gain_flipped(self) -> bool:
        """Whether the gain must be turned upside down: TIFF rows are, on reading."""
        return self.movie.suffix == ".tif"

    def truth(self) -> MotionTruth:
        """Read the truth."""
        return MotionTruth.load(self.folder / "truth.npz")

    def warm(self) -> None:
        """Bring the movie into the memory cache, so that no program pays for the disk."""
        with self.movie.open("rb") as stream:
            while stream.read(1 << 24):
                pass


def prepare(case: Case, seed: int, root: Path) -> PreparedMovie:
    """Return the movie of a seed, made now unless it lies there. Raises CaseImpossible."""
    height, width = case.shape_yx
    prepared = PreparedMovie(case, seed, root / f"{case.name}-{width}x{height}-seed{seed}")
    description = json.loads(json.dumps({**asdict(case), "seed": seed}))
    note = prepared.folder / "case.json"
    if (prepared.folder / "truth.npz").exists():
        if json.loads(note.read_text(encoding="utf-8")) != description:
            raise CaseImpossible(f"{prepared.folder} holds another movie than {case.describe()}: remove it")
        return prepared
    prepared.folder.mkdir(parents=True, exist_ok=True)
    note.write_text(json.dumps(description, indent=1), encoding="utf-8")
    generator = torch.Generator().manual_seed(seed)
    movie, truth = _move_micrograph(case, generator) if case.source == "micrograph" else _expose(case, generator)
    store(prepared, movie.hardware_frames(case.raw_per_frame) if case.raw_per_frame > 1 else movie.frames(), movie)
    truth.save(prepared.folder / "truth.npz")  # last: with it the folder is complete
    return prepared


def scale(case: Case, side_px: int | None) -> Case:
    """Return a case with square frames of another size, or as it is."""
    return case if side_px is None else replace(case, shape_yx=(side_px, side_px))


def store(prepared: PreparedMovie, frames: Iterable[Tensor], movie: CountedMovie) -> None:
    """Write the movie's file and its gain."""
    case, seed = prepared.case, prepared.seed
    gain_yx = movie.detector.gain_yx.numpy()
    writer: _Writer
    if prepared.movie.suffix == ".eer":
        total_e_per_px = case.electrons_per_px * case.frames
        writer = _EventWriter(EerWriter(prepared.movie, case.shape_yx, metadata={"totalDose": total_e_per_px}), seed)
        gain_yx = np.reciprocal(gain_yx)
    elif prepared.movie.suffix == ".tif":
        # Strips of about 8 KiB, as libtiff cuts them and cameras' programs leave it.
        size_ang = case.pixel_size_ang
        writer = TiffMovieWriter(prepared.movie, case.shape_yx, "uint8", compression="lzw", pixel_size_ang=size_ang)
    else:
        writer = MrcWriter(
            prepared.movie,
            case.shape_yx,
            "uint8",
            pixel_size_ang=case.pixel_size_ang,
            section_count=case.frames,
            camera_bytes=True,
        )
    for frame_yx in frames:
        writer.append(frame_yx.numpy())
    writer.close()
    stored_yx = np.ascontiguousarray(gain_yx[::-1] if prepared.is_gain_flipped else gain_yx)
    write_mrc(prepared.gain, stored_yx, pixel_size_ang=case.pixel_size_ang)


class _EventWriter:
    """Writes hardware frames, each event at a random place within its pixel."""

    def __init__(self, writer: EerWriter, seed: int) -> None:
        self._writer, self._generator = writer, np.random.default_rng(seed)

    def append(self, frame_yx: npt.NDArray[Any]) -> None:
        self._writer.append(frame_yx, self._generator)

    def close(self) -> None:
        self._writer.close()


_Writer = _EventWriter | TiffMovieWriter | MrcWriter


def _expose(case: Case, generator: torch.Generator) -> tuple[CountedMovie, MotionTruth]:
    """Simulate particles in ice, damaged as they are exposed."""
    optics = SimulatedOptics(case.pixel_size_ang, 12_000.0, 11_500.0, astigmatism_angle_deg=30.0)
    gain_yx = draw_gain(case.shape_yx, generator)
    movie = simulate_movie(
        case.shape_yx,
        case.frames,
        optics,
        case.dose_per_frame_e_per_ang2,
        generator,
        gain_yx=gain_yx,
        hot_pixels=_HOT_PIXELS,
    )
    information = movie_shift_information(movie.truth, case.shape_yx)
    return movie, MotionTruth(_sample(movie.truth.motion), information)


def _move_micrograph(case: Case, generator: torch.Generator) -> tuple[CountedMovie, MotionTruth]:
    """Move a real micrograph, mirrored beyond its edges; its own noise moves along. Raises CaseImpossible."""
    if not REAL_MICROGRAPH.is_file():
        raise CaseImpossible(f"there is no {REAL_MICROGRAPH}")
    counts_yx = read_mrc(REAL_MICROGRAPH).astype(np.float32)
    # A pixel that an X-ray hit would guide the alignment as nothing in ice does.
    counts_yx = counts_yx.clip(max=counts_yx.mean() + _BRIGHTEST_SIGMA * counts_yx.std())
    height, width = case.shape_yx
    if height > counts_yx.shape[0] or width > counts_yx.shape[1]:
        raise CaseImpossible(f"{REAL_MICROGRAPH.name} has {counts_yx.shape} px, fewer than {case.shape_yx}")
    intensity_yx = relative_intensity(counts_yx[:height, :width])
    gain_yx = draw_gain(case.shape_yx, generator)
    detector = build_detector(case.shape_yx, generator, gain_yx=gain_yx, hot_pixels=_HOT_PIXELS)
    motion = default_motion(case.shape_yx, case.frames, case.pixel_size_ang, case.dose_per_frame_e_per_ang2, generator)
    margin = micrograph_margin_px(motion)
    padded_yx = torch.nn.functional.pad(intensity_yx[None], (margin,) * 4, mode="reflect")[0]
    movie = MicrographMovie(padded_yx, motion, detector, case.electrons_per_px, draw_seed(generator))
    information = picture_information(intensity_yx, case.frames, case.electrons_per_px)
    return movie, MotionTruth(_sample(motion), information)


def _sample(motion: SpecimenMotion) -> Tensor:
    return motion.on_grid(GRID_NODES, GRID_NODES)
