"""Gain references, ready to multiply the frames that `movie` returns.

Read and turned as `camera_image` says, then:
1. A gain that divides is inverted: `operation`, or with "auto" an MRC gain of an EER movie.
2. Pixels that were zero or negative are defective: 0.
3. For an up-sampled EER movie every pixel is repeated.
"""

import numpy as np
import numpy.typing as npt

from daemon.domain.acquisition import EerFractions, GainReference
from daemon.domain.movie import MovieFormat, MovieHeader
from daemon.errors import GainUnsuitable
from daemon.formats.allocation import allocate
from daemon.formats.camera_image import MRC_SUFFIXES, read_camera_image, repeat_pixels


def read_gain(
    reference: GainReference, movie: MovieHeader, *, eer: EerFractions | None = None
) -> npt.NDArray[np.float32]:
    """Return the multiplicative gain (y, x) in the orientation and size of the movie's frames, 0 = defective.

    `eer` gives the up-sampling of an EER movie; None means none. Raises GainUnsuitable (shape, not
    finite, no positive mean), FormatUnsupported, and what reading its format raises.
    """
    gain_yx = read_camera_image(reference, movie, GainUnsuitable)
    mean = float(gain_yx.mean(dtype=np.float64))
    if mean <= 0:
        raise GainUnsuitable(reference.path, f"its mean is {mean:.6g}, a gain's is positive")
    usable_yx = gain_yx >= np.finfo(np.float32).tiny  # what is smaller cannot be inverted
    factor_yx = allocate(gain_yx.shape, np.float32)
    factor_yx.fill(0)
    if divides(reference, movie):
        np.divide(1.0, gain_yx, out=factor_yx, where=usable_yx)
    else:
        np.copyto(factor_yx, gain_yx, where=usable_yx)
    return repeat_pixels(factor_yx, eer.upsampling if eer is not None and movie.format is MovieFormat.EER else 1)


def divides(reference: GainReference, movie: MovieHeader) -> bool:
    """Whether the frames are divided by the gain as it is stored."""
    if reference.operation == "auto":
        return movie.format is MovieFormat.EER and reference.path.suffix.lower() in MRC_SUFFIXES
    return reference.operation == "divide"
