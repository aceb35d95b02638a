"""Dark references: what the camera counts in a frame without a beam, to be subtracted before the gain."""

import numpy as np
import numpy.typing as npt

from daemon.domain.acquisition import CameraReference
from daemon.domain.movie import MovieHeader
from daemon.errors import DarkUnsuitable
from daemon.formats.camera_image import read_camera_image


def read_dark(reference: CameraReference, movie: MovieHeader) -> npt.NDArray[np.float32]:
    """Return the dark (y, x) in counts per stored frame, in the orientation and size of the movie's frames.

    EER movies have no use for one: their events were counted above a threshold that knows the dark. Raises
    DarkUnsuitable (shape, not finite), FormatUnsupported, and what reading its format raises.
    """
    return read_camera_image(reference, movie, DarkUnsuitable)
