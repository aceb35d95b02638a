"""Motion as RELION's motion STAR, which its polishing and other readers know.

RELION stores the shift to apply, −d. Its local model is a polynomial of frame index z (from 0) and
position, x and y in [−0.5, 0.5] over the image, that vanishes at z = 0:
shift = Σᵢ (c[3i] z + c[3i+1] z² + c[3i+2] z³) · {1, x, x², y, y², xy}ᵢ, 18 coefficients for X, then
18 for Y. What a polynomial cannot follow stands exactly in `data_elcano_local_shift`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from daemon.domain.motion import MotionField
from daemon.formats.star import StarBlock, StarValue, find_block

_TIME_POWERS = np.array([1, 2, 3])
_SPACE_TERMS = 6


_EER_UPSAMPLING = {1: 1, 2: 2, 4: 3}
"""RELION counts doublings of the 4K sensor from 1: 4K, 8K, 16K."""


@dataclass(frozen=True)
class EerRendering:
    """How many hardware frames were summed to one frame, and how many times finer than the sensor (1, 2 or 4)."""

    grouping: int
    upsampling: int


@dataclass(frozen=True)
class MotionStarHeader:
    """What the `general` block says beside the motion; None leaves a line out."""

    movie_name: str
    frame_count: int
    pixel_size_ang: float
    voltage_kv: float | None
    dose_per_frame_e_per_ang2: float | None
    gain_name: str | None
    pre_exposure_e_per_ang2: float = 0.0
    eer: EerRendering | None = None
    binning: int = 1
    """How many times larger the sum's pixels are; motion is told in the movie's."""


def motion_blocks(field: MotionField, header: MotionStarHeader) -> list[StarBlock]:
    """Return the blocks of one movie's motion STAR. The field must vanish at frame 0, as RELION's does."""
    frames = field.global_t2.shape[0]
    blocks = [_general(field, header), _global_shift(field.global_t2)]
    if field.local_tyx2 is not None:
        blocks.append(_local_model(local_coefficients(field.local_tyx2)))
        blocks.append(_exact_field(field, field.local_tyx2, frames))
    return blocks


def read_motion(blocks: Sequence[StarBlock]) -> MotionField:
    """Return the motion a motion STAR tells, from our exact block where it stands, else from the polynomial.

    Raises ValueError when the blocks are not those of a motion STAR.
    """
    general, shifts = find_block(blocks, "general"), find_block(blocks, "global_shift")
    if general is None or shifts is None:
        raise ValueError("a motion STAR needs the blocks general and global_shift")
    width, height = int(str(general.value("rlnImageSizeX"))), int(str(general.value("rlnImageSizeY")))
    global_t2 = -np.stack([shifts.floats("rlnMicrographShiftX"), shifts.floats("rlnMicrographShiftY")], axis=1)
    frames = global_t2.shape[0]
    exact, model = find_block(blocks, "elcano_local_shift"), find_block(blocks, "local_motion_model")
    if exact is not None:
        rows = len(set(exact.strings("rlnCoordinateY")))
        columns = len(set(exact.strings("rlnCoordinateX")))
        shift = np.stack([exact.floats("rlnMicrographShiftX"), exact.floats("rlnMicrographShiftY")], axis=1)
        return MotionField(width, height, global_t2, -shift.reshape(frames, rows, columns, 2))
    if model is not None:
        return MotionField(width, height, global_t2, evaluate_local(model.floats("rlnMotionModelCoeff"), frames, 9, 9))
    return MotionField(width, height, global_t2, None)


def local_coefficients(local_tyx2: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Fit RELION's 36 coefficients (of −d) to a local field d (frames, rows, columns, 2) px by least squares."""
    frames, rows, columns, _ = local_tyx2.shape
    design = _design(frames, rows, columns)
    shift = -local_tyx2.reshape(-1, 2)
    solution = np.asarray(np.linalg.lstsq(design, shift, rcond=None)[0], dtype=np.float64)
    return np.concatenate([solution[:, 0], solution[:, 1]])


def fit_local_coefficients(
    frame_n: npt.NDArray[np.int64],
    position_n2: npt.NDArray[np.float64],
    series_n: npt.NDArray[np.int64],
    shift_n2: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], float]:
    """Fit RELION's 36 coefficients to corrections (−d, px) measured anywhere; also return the rms of what is left, px.

    frame_n counts from 0; position_n2 is (x, y) in [−0.5, 0.5] over the image. A series (one patch) may have any shift
    at frame 0, where the model has none: only changes within a series count. Raises ValueError where the measurements
    do not determine the model.
    """
    count = len(np.unique(series_n))
    powers = _TIME_POWERS[: max(len(np.unique(frame_n)) - 1, 0)]
    last = float(frame_n.max(initial=1))  # powers of up to a thousand frames would spoil the fit
    time = (frame_n[:, None] / last) ** powers
    space = _space_terms(position_n2[:, 0], position_n2[:, 1])
    terms = (space[:, :, None] * time[:, None, :]).reshape(len(frame_n), _SPACE_TERMS * len(powers))
    rows = np.concatenate([terms, shift_n2], axis=1)
    for series in np.unique(series_n):
        rows[series_n == series] -= rows[series_n == series].mean(axis=0)
    design, changes = rows[:, :-2], rows[:, -2:]
    if not design.size or np.linalg.matrix_rank(design) < design.shape[1]:
        raise ValueError(f"{count} patch(es) do not determine RELION's model of local motion")
    solution = np.linalg.lstsq(design, changes, rcond=None)[0]
    rms_px = float(np.sqrt(np.mean(np.sum((design @ solution - changes) ** 2, axis=1))))
    coefficients = np.zeros((2, _SPACE_TERMS, len(_TIME_POWERS)))
    coefficients[:, :, : len(powers)] = solution.T.reshape(2, _SPACE_TERMS, -1) / last**powers
    return coefficients.ravel(), rms_px


def evaluate_local(
    coefficients: npt.NDArray[np.float64], frames: int, rows: int, columns: int
) -> npt.NDArray[np.float64]:
    """Return the local field d (frames, rows, columns, 2) px that 36 RELION coefficients stand for."""
    if coefficients.shape != (2 * 3 * _SPACE_TERMS,):
        raise ValueError(f"RELION's local motion model has 36 coefficients, got {coefficients.shape}")
    shift = _design(frames, rows, columns) @ coefficients.reshape(2, -1).T
    return -shift.reshape(frames, rows, columns, 2)


def _design(frames: int, rows: int, columns: int) -> npt.NDArray[np.float64]:
    x = np.linspace(-0.5, 0.5, columns)[None, :] * np.ones((rows, 1))
    y = np.linspace(-0.5, 0.5, rows)[:, None] * np.ones((1, columns))
    space = _space_terms(x.ravel(), y.ravel())
    time = np.arange(frames)[:, None] ** _TIME_POWERS[None, :].astype(float)
    terms = np.einsum("tk,pi->tpik", time, space)
    return np.asarray(terms.reshape(frames * rows * columns, 3 * _SPACE_TERMS), dtype=np.float64)


def _space_terms(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.stack([np.ones_like(x), x, x**2, y, y**2, x * y], axis=-1)


def _general(field: MotionField, header: MotionStarHeader) -> StarBlock:
    values: dict[str, StarValue] = {
        "rlnImageSizeX": field.width_px,
        "rlnImageSizeY": field.height_px,
        "rlnImageSizeZ": header.frame_count,
        "rlnMicrographMovieName": header.movie_name,
    }
    if header.gain_name is not None:
        values["rlnMicrographGainName"] = header.gain_name
    values["rlnMicrographBinning"] = float(header.binning)
    values["rlnMicrographOriginalPixelSize"] = header.pixel_size_ang
    if header.dose_per_frame_e_per_ang2 is not None:
        values["rlnMicrographDoseRate"] = header.dose_per_frame_e_per_ang2
    values["rlnMicrographPreExposure"] = header.pre_exposure_e_per_ang2
    if header.voltage_kv is not None:
        values["rlnVoltage"] = header.voltage_kv
    values["rlnMicrographStartFrame"] = 1
    if header.eer is not None:
        values["rlnEERUpsampling"] = _EER_UPSAMPLING[header.eer.upsampling]
        values["rlnEERGrouping"] = header.eer.grouping
    values["rlnMotionModelVersion"] = 0 if field.local_tyx2 is None else 1
    return StarBlock.pairs("general", values)


def _global_shift(global_t2: npt.NDArray[np.float64]) -> StarBlock:
    return StarBlock(
        "global_shift",
        {
            "rlnMicrographFrameNumber": np.arange(1, len(global_t2) + 1),
            "rlnMicrographShiftX": _round(-global_t2[:, 0]),
            "rlnMicrographShiftY": _round(-global_t2[:, 1]),
        },
    )


def _local_model(coefficients: npt.NDArray[np.float64]) -> StarBlock:
    return StarBlock(
        "local_motion_model",
        {"rlnMotionModelCoeffsIdx": np.arange(len(coefficients)), "rlnMotionModelCoeff": coefficients},
    )


def _exact_field(field: MotionField, local_tyx2: npt.NDArray[np.float64], frames: int) -> StarBlock:
    rows, columns = local_tyx2.shape[1:3]
    frame, y, x = np.meshgrid(
        np.arange(1, frames + 1),
        np.linspace(0, field.height_px - 1, rows),
        np.linspace(0, field.width_px - 1, columns),
        indexing="ij",
    )
    return StarBlock(
        "elcano_local_shift",
        {
            "rlnMicrographFrameNumber": frame.ravel(),
            "rlnCoordinateX": x.ravel(),
            "rlnCoordinateY": y.ravel(),
            "rlnMicrographShiftX": _round(-local_tyx2[..., 0].ravel()),
            "rlnMicrographShiftY": _round(-local_tyx2[..., 1].ravel()),
        },
    )


def _round(shift_px: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Keep 1e-6 px: far below what can be measured, and without the noise of the last bits. No negative zero."""
    return np.round(shift_px, 6) + 0.0
