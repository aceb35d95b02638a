"""PNG pictures: the same array gives the same bytes."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy.typing as npt
from PIL import Image


def write_png(path: Path, picture: npt.NDArray[Any]) -> None:
    """Write a uint8 array (y, x) as grey or (y, x, 3) as RGB, row 0 on top. Raises ValueError, OSError."""
    check_picture(picture)
    encoded = BytesIO()  # Pillow's own writing to a file forgets why the disk refused
    Image.fromarray(picture).save(encoded, format="PNG", compress_level=6)
    path.write_bytes(encoded.getbuffer())


def check_picture(picture: npt.NDArray[Any]) -> None:
    """Raise ValueError unless the array is a picture: uint8, (y, x) or (y, x, 3), not empty."""
    is_grey_or_rgb = picture.ndim == 2 or (picture.ndim == 3 and picture.shape[2] == 3)
    if picture.dtype != "uint8" or not is_grey_or_rgb or picture.size == 0:
        raise ValueError(f"a picture is uint8 (y, x) or (y, x, 3), got {picture.dtype} {picture.shape}")
