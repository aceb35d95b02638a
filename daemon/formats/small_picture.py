"""Pictures made small enough to be sent: read whatever they are, written as PNG."""

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from daemon.errors import FileUnreadable
from daemon.formats.mrc import read_mrc

PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg"})
_GREY_MODES = frozenset({"1", "L", "I;16"})


@dataclass(frozen=True)
class SmallPicture:
    """A PNG and its size."""

    png: bytes
    width_px: int
    height_px: int


def shrink_picture(path: Path, longest_px: int) -> SmallPicture:
    """Return a picture as grey or RGB PNG, no side longer than `longest_px`; a smaller one stays as large as it is.

    Of an MRC file the first section is shown, its middle 98 % of values from black to white. Raises FileUnreadable,
    FormatError.
    """
    picture = _read_mrc(path) if path.suffix.lower() == ".mrc" else _read_picture(path)
    picture.thumbnail((longest_px, longest_px), Image.Resampling.LANCZOS, reducing_gap=2.0)
    encoded = BytesIO()
    picture.save(encoded, format="PNG", compress_level=6)
    return SmallPicture(encoded.getvalue(), *picture.size)


def _read_picture(path: Path) -> Image.Image:
    try:
        with Image.open(path) as picture:
            return picture.convert("L" if picture.mode in _GREY_MODES else "RGB")
    except (OSError, Image.DecompressionBombError, SyntaxError, ValueError) as error:
        # Pillow says what is wrong with the bytes of a picture in any of these.
        raise FileUnreadable(path, error if isinstance(error, OSError) else OSError(str(error))) from error


def _read_mrc(path: Path) -> Image.Image:
    values = read_mrc(path)
    section = np.nan_to_num((values if values.ndim == 2 else values[0]).astype(np.float32))
    low, high = np.percentile(section, (1, 99))
    grey = np.clip((section - low) / max(float(high - low), 1e-12), 0, 1) * 255
    return Image.fromarray(grey.astype(np.uint8))
