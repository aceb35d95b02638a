"""What a simulated session holds: every movie's name, place, optics and seed, before a byte is written.

A plan is a function of its request alone: the same seed gives the same session, and movie 7 is the
same movie whether ten or a thousand are made.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from daemon.domain.movie import MovieFormat
from daemon.errors import SimulationInvalid

MovieKind = Literal["mrc", "mrc4", "tiff", "tiff-tiled", "eer", "eer65000", "eer65002"]
"""How a movie is stored: MRC bytes or 4-bit, TIFF in strips or tiles, EER by the compression."""
FormatChoice = Literal[MovieKind, "mixed", "all"]
MrcType = Literal["bytes", "uint16", "float32"]
ManifestStyle = Literal["elcano", "magellon", "none"]

_SESSION_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,59}")
_KINDS: Mapping[MovieKind, tuple[MovieFormat, str]] = {
    "mrc": (MovieFormat.MRC, ".mrc"),
    "tiff": (MovieFormat.TIFF, ".tif"),
    "eer": (MovieFormat.EER, ".eer"),
    "mrc4": (MovieFormat.MRC, ".mrc"),
    "tiff-tiled": (MovieFormat.TIFF, ".tif"),
    "eer65000": (MovieFormat.EER, ".eer"),
    "eer65002": (MovieFormat.EER, ".eer"),
}
_MIXED: tuple[MovieKind, ...] = ("mrc", "tiff", "eer")


@dataclass(frozen=True)
class MovieSize:
    """Frame size, frames, pixel size and mean electrons per pixel and frame of every movie of a session."""

    width_px: int
    height_px: int
    frames: int
    pixel_size_ang: float
    electrons_per_px: float

    @property
    def shape_yx(self) -> tuple[int, int]:
        """Rows and columns of one frame."""
        return self.height_px, self.width_px

    @property
    def dose_per_frame_e_per_ang2(self) -> float:
        """Dose of one frame in e⁻/Å²."""
        return self.electrons_per_px / self.pixel_size_ang**2


SIZES: Mapping[str, MovieSize] = {
    "tiny": MovieSize(512, 512, 12, pixel_size_ang=2.0, electrons_per_px=5.0),
    "small": MovieSize(2048, 2048, 24, pixel_size_ang=1.0, electrons_per_px=1.5),
    "k3": MovieSize(5760, 4092, 40, pixel_size_ang=0.83, electrons_per_px=1.0),
}


@dataclass(frozen=True)
class SessionRequest:
    """What a person asks for. Lengths in Å, angles in degrees.

    manifest: "elcano" writes session.json with the acquisition block, "magellon" one like Magellon's
    own export (exposures with pixel_size "0E-10", no acquisition block), "none" writes no session.json.
    camera_faults: the camera has a dark and ruined pixels, and the session files that name them.
    """

    name: str
    movies: int
    size: MovieSize = SIZES["tiny"]
    movie_format: FormatChoice = "tiff"
    seed: int = 1
    voltage_kv: float = 300.0
    spherical_aberration_mm: float = 2.7
    amplitude_contrast: float = 0.1
    defocus_range_ang: tuple[float, float] = (8_000.0, 22_000.0)
    greatest_astigmatism_ang: float = 600.0
    phase_shift_deg: float = 0.0
    mrc_type: MrcType = "bytes"
    manifest: ManifestStyle = "elcano"
    bad_pixel_share: float = 5e-6
    camera_faults: bool = False


@dataclass(frozen=True)
class PlannedMovie:
    """One exposure. `lineage` are the names of its grid, square and hole; stage position in m."""

    index: int
    name: str
    lineage: tuple[str, str, str]
    kind: MovieKind
    seed: int
    defocus_u_ang: float
    defocus_v_ang: float
    astigmatism_angle_deg: float
    drift_ang: float
    stage_xy_m: tuple[float, float]

    @property
    def format(self) -> MovieFormat:
        """Container of the frames."""
        return _KINDS[self.kind][0]

    @property
    def file_name(self) -> str:
        """Name of the movie file in `frames/`."""
        return self.name + _KINDS[self.kind][1]


@dataclass(frozen=True)
class SessionPlan:
    """A session to be written: the request and its movies, in the order in which they are taken."""

    request: SessionRequest
    movies: tuple[PlannedMovie, ...] = field(default_factory=tuple)

    @property
    def hardware_frames_per_frame(self) -> int:
        """EER hardware frames to a simulated frame: five or more, and at most 0.1 e⁻ per pixel in each."""
        return max(5, int(np.ceil(self.request.size.electrons_per_px / 0.1)))

    @property
    def bad_pixels(self) -> int:
        """Number of hot, and of dead, pixels of the camera."""
        size = self.request.size
        return max(3, round(self.request.bad_pixel_share * size.width_px * size.height_px))


def derive_seed(seed: int, *parts: str | int) -> int:
    """Return a seed of 62 bits that depends on `seed` and on what it is for."""
    text = "\x1f".join(str(part) for part in (seed, *parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 2


def plan_session(request: SessionRequest) -> SessionPlan:
    """Decide everything about a session. Raises SimulationInvalid for a request that cannot be met."""
    _check(request)
    return SessionPlan(request, tuple(_plan_movie(request, index) for index in range(request.movies)))


def _plan_movie(request: SessionRequest, index: int) -> PlannedMovie:
    seed = derive_seed(request.seed, request.name, index)
    rng = np.random.default_rng(seed)
    low, high = request.defocus_range_ang
    defocus = float(rng.uniform(low, high))
    half = 0.5 * float(rng.uniform(0, request.greatest_astigmatism_ang))
    angle = float(rng.uniform(-90, 90))
    drift_ang = float(rng.uniform(4, 14))
    lineage, name, stage = _place(request.name, index)
    kind = _choose_kind(request.movie_format, index)
    return PlannedMovie(index, name, lineage, kind, seed, defocus + half, defocus - half, angle, drift_ang, stage)


def _choose_kind(choice: FormatChoice, index: int) -> MovieKind:
    if choice == "mixed":
        return _MIXED[index % len(_MIXED)]
    return tuple(_KINDS)[index % len(_KINDS)] if choice == "all" else choice


def _place(session: str, index: int) -> tuple[tuple[str, str, str], str, tuple[float, float]]:
    """Names as Leginon gives them and a stage position: 3 exposures a hole, 5 holes a square, 4 squares a grid."""
    hole_count, exposure = divmod(index, 3)
    square_count, hole = divmod(hole_count, 5)
    grid_number, square = divmod(square_count, 4)
    grid = f"{session}_{grid_number + 1:05d}gr"
    square_name = f"{grid}_{square + 1:05d}sq_v01"
    hole_name = f"{square_name}_{hole + 1:05d}hl"
    # Squares 90 µm apart, holes 2.5 µm, exposures 0.6 µm.
    x = (square % 2) * 90e-6 + hole * 2.5e-6 + exposure * 0.6e-6
    y = (square // 2) * 90e-6 + grid_number * 1e-6
    return (grid, square_name, hole_name), f"{hole_name}_{exposure + 2:05d}ex", (x, y)


def _check(request: SessionRequest) -> None:
    size = request.size
    low, high = request.defocus_range_ang
    rules = [
        (_SESSION_NAME.fullmatch(request.name) is not None, f"the session name {request.name!r}",
         "use letters, digits, '_', '-' and '.', at most 60 of them"),
        (request.movies >= 1, f"{request.movies} movies", "ask for one at least"),
        (min(size.width_px, size.height_px) >= 64, f"frames of {size.width_px} × {size.height_px} px",
         "64 × 64 px is the least"),
        (size.frames >= 1, f"{size.frames} frames", "a movie has one at least"),
        (0.1 <= size.pixel_size_ang <= 20, f"a pixel size of {size.pixel_size_ang} Å", "choose 0.1 to 20 Å"),
        (0 < size.electrons_per_px <= 100, f"{size.electrons_per_px} e⁻ per pixel and frame", "choose up to 100"),
        (0 <= low <= high <= 100_000, f"a defocus range of {low:g} to {high:g} Å", "choose 0 to 100000 Å, low first"),
        (0 <= request.greatest_astigmatism_ang <= 2 * max(low, 1),
         f"{request.greatest_astigmatism_ang:g} Å of astigmatism", "choose 0 to twice the least defocus"),
        (60 <= request.voltage_kv <= 400, f"{request.voltage_kv:g} kV", "choose 60 to 400 kV"),
    ]  # fmt: skip
    for holds, what, remedy in rules:
        if not holds:
            raise SimulationInvalid(
                f"A session with {what} cannot be simulated.", hint=remedy[0].upper() + remedy[1:] + "."
            )
