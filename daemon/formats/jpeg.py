"""JPEG pictures: the same array gives the same bytes with the same libjpeg."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy.typing as npt
from PIL import Image

from daemon.formats.png import check_picture


def write_jpeg(path: Path, picture: npt.NDArray[Any], *, quality: int = 90) -> None:
    """Write a uint8 array (y, x) as grey or (y, x, 3) as RGB, row 0 on top, colours not subsampled.

    `quality` is 1 to 95. Raises ValueError, OSError.
    """
    check_picture(picture)
    if not 1 <= quality <= 95:
        raise ValueError(f"JPEG quality must lie in 1 to 95, got {quality}")
    encoded = BytesIO()  # as in write_png
    Image.fromarray(picture).save(encoded, format="JPEG", quality=quality, subsampling=0)
    path.write_bytes(encoded.getbuffer())
