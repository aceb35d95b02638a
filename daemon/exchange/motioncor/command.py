"""MotionCor2's and MotionCor3's command: what a template may name, and the files that come of it.

MotionCor turns the rows of TIFF movies round on reading and leaves those of MRC and EER movies as they are, as RELION
and Elcano do: its sums and shifts need no turning. Gain, dark and map of defects are handed over as they fit those
frames (MRC, gain that multiplies), so that whatever they were made of is read by one rule: ours.
"""

from dataclasses import dataclass
from pathlib import Path

from daemon.domain.acquisition import Acquisition
from daemon.domain.movie import MovieFormat
from daemon.exchange.command_template import Value

MOTIONCOR3_TEMPLATE = (
    "MotionCor3", "{input_option}", "{movie}", "-OutMrc", "{sum}", "-LogDir", "{log_folder}",
    "-Gain", "{gain}", "-Dark", "{dark}", "-DefectMap", "{defect_map}",
    "-FmIntFile", "{fraction_file}", "-EerSampling", "{eer_sampling}",
    "-Patch", "{patches}", "{patches}", "-PixSize", "{pixel_size_ang}", "-kV", "{voltage_kv}",
    "-FmDose", "{dose_per_frame_e_per_ang2}", "-InitDose", "{pre_exposure_e_per_ang2}", "-SplitSum", "{split_sum}",
    "-Gpu", "0",
)  # fmt: skip
"""Complete for MotionCor3. MotionCor2 before 1.6 has `-LogFile {log_prefix}` in place of `-LogDir`. Without `-FtBin`:
our products have the movie's pixels."""

MOTIONCOR_PLACEHOLDERS = (
    "input_option", "movie", "sum", "log_folder", "log_prefix", "gain", "dark", "defect_map", "fraction_file",
    "eer_sampling", "patches", "pixel_size_ang", "voltage_kv", "dose_per_frame_e_per_ang2", "pre_exposure_e_per_ang2",
    "split_sum",
)  # fmt: skip
"""What a template may name: the keys of `motioncor_values`."""

_INPUT_OPTIONS = {MovieFormat.MRC: "-InMrc", MovieFormat.TIFF: "-InTiff", MovieFormat.EER: "-InEer"}
_PATCHES = 5
_EER_SAMPLING = {1: 1, 2: 2, 4: 3}
"""The program counts doublings of the sensor from 1, as RELION does."""
_SUFFIXES = (".mrc", ".tif", ".eer")


@dataclass(frozen=True)
class MotionCorFiles:
    """Where the program reads and writes: absolute paths. fraction_file is only used for EER movies."""

    movie: Path
    sum: Path
    log_folder: Path
    fraction_file: Path
    gain: Path | None = None
    dark: Path | None = None
    defect_map: Path | None = None


def motioncor_values(
    files: MotionCorFiles,
    movie_format: MovieFormat,
    acquisition: Acquisition,
    dose_per_frame_e_per_ang2: float | None,
    pre_exposure_e_per_ang2: float = 0.0,
    *,
    local: bool = True,
    split_sum: bool = False,
) -> dict[str, Value]:
    """Values of every placeholder; None where nothing is known.

    The dose is that of one frame as it is stored (of an EER movie: a hardware frame), None when nothing is to be
    weighted; without a voltage nothing is weighted either, and neither is passed.
    """
    is_eer = movie_format is MovieFormat.EER
    is_weighted = dose_per_frame_e_per_ang2 is not None and acquisition.voltage_kv is not None
    return {
        "input_option": _INPUT_OPTIONS[movie_format],
        "movie": str(files.movie),
        "sum": str(files.sum),
        "log_folder": f"{files.log_folder}/",
        "log_prefix": str(files.log_folder / _log_stem(files.movie)),
        "gain": _path(files.gain),
        "dark": _path(files.dark),
        "defect_map": _path(files.defect_map),
        "fraction_file": str(files.fraction_file) if is_eer else None,
        "eer_sampling": _EER_SAMPLING[acquisition.eer.upsampling] if is_eer else None,
        "patches": _PATCHES if local else 0,
        "pixel_size_ang": acquisition.pixel_size_ang,
        "voltage_kv": acquisition.voltage_kv,
        "dose_per_frame_e_per_ang2": dose_per_frame_e_per_ang2 if is_weighted else None,
        "pre_exposure_e_per_ang2": pre_exposure_e_per_ang2 if is_weighted else None,
        "split_sum": int(split_sum),
    }


def _path(path: Path | None) -> str | None:
    return None if path is None else str(path)


def fraction_file_text(hardware_frames: int, grouping: int, dose_per_hardware_frame_e_per_ang2: float | None) -> str:
    """Text of the file that `-FmIntFile` reads: how many hardware frames, in sums of how many, with which dose each.

    As many sums come of it as of RELION's rule and ours; frames left over are not dropped but join the last sums.
    """
    if not 0 < grouping <= hardware_frames:
        raise ValueError(f"{hardware_frames} hardware frames can't be summed in groups of {grouping}")
    return f"{hardware_frames} {grouping} {dose_per_hardware_frame_e_per_ang2 or 0.0:.6g}\n"


def weighted_sum_path(sum_path: Path) -> Path:
    """Where the dose-weighted sum lies when `-FmDose` was given; the plain one lies at sum_path."""
    return sum_path.with_name(f"{sum_path.stem}_DW{sum_path.suffix}")


def half_sum_paths(sum_path: Path) -> tuple[Path, Path]:
    """Where the sums of even (first, third, …) and of odd frames lie when `-SplitSum 1` was given; not weighted."""
    even, odd = (sum_path.with_name(f"{sum_path.stem}{end}{sum_path.suffix}") for end in ("_EVN", "_ODD"))
    return even, odd


def shift_log_names(movie: Path) -> tuple[str, ...]:
    """Names of the full-frame shift log in the log folder, with and without patches, newer and older versions."""
    stem = _log_stem(movie)
    return (f"{stem}-Patch-Full.log", f"{stem}-Full.log", f"{stem}0-Patch-Full.log", f"{stem}0-Full.log")


def patch_log_names(movie: Path) -> tuple[str, ...]:
    """Names of the log of the patches' shifts in the log folder, newer and older versions."""
    stem = _log_stem(movie)
    return (f"{stem}-Patch-Patch.log", f"{stem}0-Patch-Patch.log")


def _log_stem(movie: Path) -> str:
    """The movie's name up to the first suffix that the program knows, as it names its logs."""
    lowered = movie.name.lower()
    cut = next((lowered.find(suffix) for suffix in _SUFFIXES if suffix in lowered), len(lowered))
    return movie.name[:cut]
