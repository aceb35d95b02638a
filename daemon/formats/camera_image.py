"""Images of the camera itself (gain, dark, map of defects) from files of any kind, turned to fit the frames.

In this order:
1. Rows: those of TIFF and DigitalMicrograph files, whose first row is the top one, are flipped on reading;
   those of MRC and `.gain` (a TIFF of the EER camera's software) are kept.
2. `rotate_deg`, clockwise as seen with row 0 on top (from +x towards +y). RELION's and MotionCor's
   gain_rot 1, 2, 3 are 90, 180, 270.
3. `flip` (after the rotation, as there): "y" turns the image upside down (their 1), "x" mirrors left
   and right (their 2).
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from daemon.domain.acquisition import CameraReference
from daemon.domain.movie import MovieHeader
from daemon.errors import FormatUnsupported, ReferenceUnsuitable
from daemon.formats.dm import read_dm_image
from daemon.formats.mrc import read_mrc
from daemon.formats.tiff import read_tiff_image

MRC_SUFFIXES = frozenset({".mrc", ".mrcs"})
TIFF_SUFFIXES = frozenset({".tif", ".tiff"})
DM_SUFFIXES = frozenset({".dm3", ".dm4"})
EER_GAIN_SUFFIX = ".gain"


def read_camera_image(
    reference: CameraReference, movie: MovieHeader, refusal: type[ReferenceUnsuitable]
) -> npt.NDArray[np.float32]:
    """Return the image (y, x), turned, of the size of the movie's frames (of an EER movie: of its sensor).

    Raises `refusal` where it does not fit, FormatUnsupported, and what reading its format raises.
    """
    stored_yx = read_stored_image(reference.path)
    if stored_yx.ndim != 2:
        raise refusal(reference.path, f"it holds {stored_yx.shape[0]} images where one is expected")
    with np.errstate(over="ignore"):  # a double beyond float32 becomes infinite, which is refused below
        image_yx = turn_image(stored_yx.astype(np.float32, copy=False), reference)
    check_fit(image_yx.shape, reference, movie, refusal)
    broken = int(image_yx.size - np.isfinite(image_yx).sum())
    if broken:
        raise refusal(reference.path, f"{broken} of its {image_yx.size} pixels are not finite numbers")
    return image_yx


def turn_image(stored_yx: npt.NDArray[Any], reference: CameraReference) -> npt.NDArray[Any]:
    """Rotate and mirror as the reference says."""
    image_yx = np.rot90(stored_yx, -(reference.rotate_deg // 90))
    if reference.flip == "none":
        return image_yx
    return image_yx[::-1] if reference.flip == "y" else image_yx[:, ::-1]


def check_fit(
    shape_yx: tuple[int, ...], reference: CameraReference, movie: MovieHeader, refusal: type[ReferenceUnsuitable]
) -> None:
    """Raise `refusal` unless an image of this shape, turned already, fits the movie's frames."""
    if shape_yx == movie.shape_yx:
        return
    (height_px, width_px), turned = shape_yx, " after its rotation" if reference.rotate_deg else ""
    advice = ""
    if shape_yx == movie.shape_yx[::-1]:
        advice = "; it would fit turned by 90°: set its rotate_deg"
    raise refusal(
        reference.path,
        f"it is {width_px} × {height_px} px (width × height){turned}, "
        f"the frames of {movie.path.name} are {movie.width_px} × {movie.height_px} px{advice}",
    )


def repeat_pixels(image_yx: npt.NDArray[Any], times: int) -> npt.NDArray[Any]:
    """Return the image on a grid finer by a whole number, every pixel repeated."""
    return image_yx if times == 1 else image_yx.repeat(times, axis=0).repeat(times, axis=1)


def read_stored_image(path: Path) -> npt.NDArray[Any]:
    """Read the image (y, x) as rule 1 has it, not turned; several images in one file are (image, y, x).

    Raises FormatUnsupported, and what reading its format raises.
    """
    suffix = path.suffix.lower()
    if suffix in MRC_SUFFIXES:
        return read_mrc(path)
    if suffix in TIFF_SUFFIXES or suffix == EER_GAIN_SUFFIX:
        return read_tiff_image(path, flip_rows=suffix != EER_GAIN_SUFFIX)
    if suffix in DM_SUFFIXES:
        return read_dm_image(path, flip_rows=True)
    raise FormatUnsupported(path, f"{suffix!r} is no format of a camera's image", hint="Convert it to MRC or TIFF.")
