"""Elcano and its peers, each run on one movie in a process of its own, and what each of them found."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from benchmarks.motion.cases import AMPLITUDE_CONTRAST, SPHERICAL_ABERRATION_MM, VOLTAGE_KV, PreparedMovie
from benchmarks.motion.elcano_job import Job
from benchmarks.motion.judgement import GRID_NODES, on_judging_grid
from benchmarks.motion.processes import Cost, ProgramFailed, run_program
from daemon import __version__
from daemon.domain.motion import MotionField
from daemon.exchange.relion.motion import read_motion
from daemon.formats.mrc import read_mrc
from daemon.formats.star import StarBlock, StarValue, read_star, write_star
from daemon.pipeline.product import ALIGNED, ALIGNED_UNWEIGHTED, Product

REPOSITORY = Path(__file__).parents[2]
TEAMTOMO_SCRIPT = REPOSITORY / "benchmarks" / "peers" / "teamtomo_motion.py"
TEAMTOMO_PACKAGE = "torch-motion-correction"
TEAMTOMO_COMMANDS = (
    "python3.11 -m venv peer && peer/bin/pip install torch==2.13.0 torchvision==0.28.0",
    f"peer/bin/pip install {TEAMTOMO_PACKAGE} torch-fourier-rescale torch-ctf-estimation tifffile imagecodecs mrcfile",
)
RELION = "relion_run_motioncorr"
_TEAMTOMO_PATCH_PX = 512


@dataclass(frozen=True)
class Attempt:
    """What a program found in a movie, and at what price; `loading_s` is what its cost leaves out."""

    cost: Cost
    motion_tyx2: Tensor
    whole_frame_tyx2: Tensor | None = None
    """Its motion less the local part, where it tells them apart."""
    loading_s: float = 0.0
    answer: Mapping[str, Any] = field(default_factory=dict)


class Program(Protocol):
    """Corrects a movie from its file to written micrographs."""

    name: str
    version: str

    def correct(self, prepared: PreparedMovie, work: Path) -> Attempt:
        """Do it in an empty folder. Raises ProgramFailed."""
        ...


class Elcano:
    """Our own stage: weighted and unweighted sums, spectrum, motion and its picture, each written atomically."""

    def __init__(self, threads: int, *, device: str = "cpu", warm_movies: int = 0) -> None:
        self.name = "Elcano" if device == "cpu" else "Elcano-GPU"
        self.version = __version__
        self._threads, self._device, self._warm_movies = threads, device, warm_movies

    def correct(self, prepared: PreparedMovie, work: Path) -> Attempt:
        """Run our own process. Raises ProgramFailed."""
        case = prepared.case
        job = Job(
            str(prepared.movie.resolve()),
            str(prepared.gain.resolve()),
            prepared.is_gain_flipped,
            str(work / "home"),
            case.pixel_size_ang,
            VOLTAGE_KV,
            SPHERICAL_ABERRATION_MM,
            AMPLITUDE_CONTRAST,
            case.dose_per_frame_e_per_ang2,
            case.frames,
            self._device,
            self._threads,
            self._warm_movies,
        )
        command = [sys.executable, "-m", "benchmarks.motion.elcano_process"]
        cost, answer = _exchange(command, asdict(job), work, self._threads)
        for product in (ALIGNED, ALIGNED_UNWEIGHTED):
            _check_picture(_product_path(work / "home", product), prepared)
        found = read_motion(read_star(Path(answer["star"])))
        return Attempt(cost, on_judging_grid(found), _whole_frame(found), answer["loading_s"], answer)


class Relion:
    """RELION's own implementation, dose weighting on, both sums written."""

    name = "RELION"

    def __init__(self, threads: int, version: str) -> None:
        self.version = version
        self._threads = threads

    def correct(self, prepared: PreparedMovie, work: Path) -> Attempt:
        """Run its program. Raises ProgramFailed."""
        for path in (prepared.movie, prepared.gain):
            (work / path.name).symlink_to(path.resolve())
        write_relion_input(work / "movies.star", prepared)
        command = relion_command(prepared, self._threads)
        cost = run_program(command, work / "log", cwd=work, environment=_environment(self._threads))
        sum_file = work / "MC" / f"{prepared.movie.stem}.mrc"
        star = sum_file.with_suffix(".star")
        if not star.is_file():
            raise ProgramFailed(f"it wrote no {star.name}: {(work / 'log').read_text(encoding='utf-8')[-600:]}")
        for path in (sum_file, sum_file.with_name(f"{sum_file.stem}_noDW.mrc")):
            _check_picture(path, prepared)
        found = read_motion(read_star(star))
        return Attempt(cost, on_judging_grid(found), _whole_frame(found))


class Teamtomo:
    """torch-motion-correction, patches of 512 px by cross-correlation; the sum is unweighted, it offers no weights."""

    name = "teamtomo"

    def __init__(self, python: Path, threads: int, version: str) -> None:
        self.version = version
        self._python, self._threads = python, threads

    def correct(self, prepared: PreparedMovie, work: Path) -> Attempt:
        """Run its process. Raises ProgramFailed."""
        case = prepared.case
        request = {
            "movie": str(prepared.movie.resolve()),
            "gain": str(prepared.gain.resolve()),
            "is_gain_flipped": prepared.is_gain_flipped,
            "frames": case.frames,
            "pixel_size_ang": case.pixel_size_ang,
            "patch_px": min(_TEAMTOMO_PATCH_PX, min(case.shape_yx) // 2),
            "grid_nodes": GRID_NODES,
            "threads": self._threads,
            "sum": str(work / "sum.mrc"),
        }
        cost, answer = _exchange([str(self._python), str(TEAMTOMO_SCRIPT)], request, work, self._threads)
        _check_picture(work / "sum.mrc", prepared)
        motion_tyx2 = torch.from_numpy(np.load(work / "answer.npy", allow_pickle=False))
        return Attempt(cost, motion_tyx2, None, answer["loading_s"], answer)


def write_relion_input(path: Path, prepared: PreparedMovie) -> None:
    """Write the STAR that names the movie and its optics."""
    optics: dict[str, list[StarValue]] = {
        "rlnOpticsGroupName": ["opticsGroup1"],
        "rlnOpticsGroup": [1],
        "rlnMicrographOriginalPixelSize": [prepared.case.pixel_size_ang],
        "rlnVoltage": [VOLTAGE_KV],
        "rlnSphericalAberration": [SPHERICAL_ABERRATION_MM],
        "rlnAmplitudeContrast": [AMPLITUDE_CONTRAST],
    }
    movies: dict[str, list[StarValue]] = {"rlnMicrographMovieName": [prepared.movie.name], "rlnOpticsGroup": [1]}
    write_star(path, [StarBlock("optics", optics), StarBlock("movies", movies)])


def relion_command(prepared: PreparedMovie, threads: int) -> list[str]:
    """Return RELION's command line for a movie, run in the folder of its links."""
    case = prepared.case
    rows, columns = case.patches_yx
    command = [RELION, "--i", "movies.star", "--o", "MC/", "--use_own", "--j", str(threads)]
    command += ["--gainref", prepared.gain.name, "--patch_x", str(columns), "--patch_y", str(rows)]
    command += ["--bfactor", "150", "--dose_per_frame", f"{case.dose_per_frame_e_per_ang2:.4f}"]
    command += ["--dose_weighting", "--save_noDW"]
    if prepared.is_gain_flipped:
        command += ["--gain_flip", "1"]
    if case.raw_per_frame > 1:
        command += ["--eer_grouping", str(case.raw_per_frame), "--eer_upsampling", "1"]
    return command


def find_relion(threads: int) -> Relion | None:
    """Return RELION where it is on the PATH."""
    if shutil.which(RELION) is None:
        return None
    said = subprocess.run([RELION, "--version"], capture_output=True, text=True, check=False).stdout
    return Relion(threads, parse_relion_version(said))


def parse_relion_version(said: str) -> str:
    """Read the version from what `--version` prints; unknown where it prints none."""
    for line in said.splitlines():
        name, colon, version = line.partition(":")
        if colon and name.strip() == "RELION version":
            return version.strip().split()[0] if version.strip() else "unknown"
    return "unknown"


def find_teamtomo(python: Path | None, threads: int) -> Teamtomo | None:
    """Return the peer where the interpreter has its package."""
    if python is None or not python.is_file():
        return None
    ask = f"import importlib.metadata as m; print(m.version({TEAMTOMO_PACKAGE!r}))"
    done = subprocess.run([str(python), "-c", ask], capture_output=True, text=True, check=False)
    return Teamtomo(python.absolute(), threads, done.stdout.strip()) if done.returncode == 0 else None


def _exchange(
    command: list[str], request: Mapping[str, Any], work: Path, threads: int
) -> tuple[Cost, Mapping[str, Any]]:
    """Run a process that answers a request; its own clocks leave its start out, its memory is all it had."""
    asked, answered = work / "request.json", work / "answer.json"
    asked.write_text(json.dumps(request), encoding="utf-8")
    run = run_program(
        [*command, str(asked), str(answered)], work / "log", cwd=REPOSITORY, environment=_environment(threads)
    )
    if not answered.is_file():
        raise ProgramFailed(f"{command[0]} answered nothing")
    answer = json.loads(answered.read_text(encoding="utf-8"))
    return Cost(answer["wall_s"], answer["cpu_s"], run.peak_bytes), answer


def _whole_frame(found: MotionField) -> Tensor | None:
    return None if found.local_tyx2 is None else on_judging_grid(replace(found, local_tyx2=None))


def _environment(threads: int) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}


def _product_path(home: Path, product: Product) -> Path:
    return product.path(home, "movie")


def _check_picture(path: Path, prepared: PreparedMovie) -> None:
    """Raise ProgramFailed unless a micrograph of the movie's size lies there, with contrast and finite."""
    if not path.is_file():
        raise ProgramFailed(f"it wrote no {path.name}")
    picture_yx = read_mrc(path)
    if picture_yx.shape != prepared.case.shape_yx or not np.isfinite(picture_yx).all() or picture_yx.std() == 0:
        raise ProgramFailed(f"{path.name} is no micrograph of {prepared.case.shape_yx}: {picture_yx.shape}")
