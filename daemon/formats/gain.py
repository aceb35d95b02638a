"""Gain references, ready to multiply the frames that `movie` returns.

In this order:
1. Rows: those of a TIFF are flipped on reading, those of MRC and `.gain` (a TIFF of the EER camera's
   software) are kept.
2. `rotate_deg`, clockwise as seen with row 0 on top (from +x towards +y). RELION's and MotionCor's
   gain_rot 1, 2, 3 are 90, 180, 270.
3. `flip` (after the rotation, as there): "y" turns the image upside down (their 1), "x" mirrors left
   and right (their 2).
4. A gain that divides is inverted: `operation`, or with "auto" an MRC gain of an EER movie.
5. Pixels that were zero or negative are defective: 0.
6. For an up-sampled EER movie every pixel is repeated.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from daemon.domain.acquisition import EerFractions, GainReference
from daemon.domain.movie import MovieFormat, MovieHeader
from daemon.errors import FormatUnsupported, GainUnsuitable
from daemon.formats.mrc import read_mrc
from daemon.formats.tiff import read_tiff_image

_MRC_SUFFIXES = frozenset({".mrc", ".mrcs"})
_TIFF_SUFFIXES = frozenset({".tif", ".tiff"})
_EER_GAIN_SUFFIX = ".gain"


def read_gain(
    reference: GainReference, movie: MovieHeader, *, eer: EerFractions | None = None
) -> npt.NDArray[np.float32]:
    """Return the multiplicative gain (y, x) in the orientation and size of the movie's frames, 0 = defective.

    `eer` gives the up-sampling of an EER movie; None means none. Raises GainUnsuitable (shape, not
    finite, no positive mean), FormatUnsupported, and what reading MRC and TIFF raises.
    """
    stored_yx = _read_stored(reference)
    if stored_yx.ndim != 2:
        raise GainUnsuitable(reference.path, f"it holds {stored_yx.shape[0]} images where one is expected")
    with np.errstate(over="ignore"):  # a double beyond float32 becomes infinite, which is refused below
        gain_yx = np.rot90(stored_yx.astype(np.float32), -(reference.rotate_deg // 90))
    if reference.flip != "none":
        gain_yx = gain_yx[::-1] if reference.flip == "y" else gain_yx[:, ::-1]
    _check_gain(reference, gain_yx, movie)
    usable_yx = gain_yx >= np.finfo(np.float32).tiny  # what is smaller cannot be inverted
    factor_yx = np.zeros(gain_yx.shape, dtype=np.float32)
    if _divides(reference, movie):
        np.divide(1.0, gain_yx, out=factor_yx, where=usable_yx)
    else:
        np.copyto(factor_yx, gain_yx, where=usable_yx)
    upsampling = eer.upsampling if eer is not None and movie.format is MovieFormat.EER else 1
    if upsampling > 1:
        factor_yx = factor_yx.repeat(upsampling, axis=0).repeat(upsampling, axis=1)
    return factor_yx


def _read_stored(reference: GainReference) -> npt.NDArray[Any]:
    suffix = reference.path.suffix.lower()
    if suffix in _MRC_SUFFIXES:
        return read_mrc(reference.path)
    if suffix in _TIFF_SUFFIXES or suffix == _EER_GAIN_SUFFIX:
        return read_tiff_image(reference.path, flip_rows=suffix != _EER_GAIN_SUFFIX)
    what = "a DigitalMicrograph gain is not read yet" if suffix in {".dm4", ".dm3"} else f"{suffix!r} is no gain format"
    raise FormatUnsupported(reference.path, what, hint="Convert it to MRC or TIFF.")


def _divides(reference: GainReference, movie: MovieHeader) -> bool:
    if reference.operation == "auto":
        return movie.format is MovieFormat.EER and reference.path.suffix.lower() in _MRC_SUFFIXES
    return reference.operation == "divide"


def _check_gain(reference: GainReference, gain_yx: npt.NDArray[np.float32], movie: MovieHeader) -> None:
    if gain_yx.shape != movie.shape_yx:
        (height_px, width_px), turned = gain_yx.shape, " after its rotation" if reference.rotate_deg else ""
        advice = ""
        if gain_yx.shape == movie.shape_yx[::-1]:
            advice = "; it would fit turned by 90°: set acquisition.gain.rotate_deg"
        raise GainUnsuitable(
            reference.path,
            f"it is {width_px} × {height_px} px (width × height){turned}, "
            f"the frames of {movie.path.name} are {movie.width_px} × {movie.height_px} px{advice}",
        )
    broken = int(gain_yx.size - np.isfinite(gain_yx).sum())
    if broken:
        raise GainUnsuitable(reference.path, f"{broken} of its {gain_yx.size} pixels are not finite numbers")
    mean = float(gain_yx.mean(dtype=np.float64))
    if mean <= 0:
        raise GainUnsuitable(reference.path, f"its mean is {mean:.6g}, a gain's is positive")
