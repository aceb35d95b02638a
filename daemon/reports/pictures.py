"""Micrographs that are shown, and their pictures, made small enough for a page that carries everything in itself."""

import base64
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image

from daemon.errors import FileUnreadable
from daemon.pipeline.product import CTF_PLOT, FFT_PICTURE, MOTION_PLOT, THUMBNAIL, Product

BUDGET_BYTES = 5 * 2**20
"""All pictures of a page together, as they stand in it."""
_QUALITY = 82


@dataclass(frozen=True)
class Shown:
    """A kind of picture, and what it is called."""

    product: Product
    words: str
    longest_px: int


KINDS: tuple[Shown, ...] = (
    Shown(THUMBNAIL, "micrograph", 494),
    Shown(CTF_PLOT, "Thon rings, measured and fitted", 900),
    Shown(MOTION_PLOT, "motion", 900),
)
"""What is shown of a micrograph; of one without a fit, FFT_PICTURE instead."""

WITHOUT_FIT = Shown(FFT_PICTURE, "power spectrum", 494)


@dataclass(frozen=True)
class Embedded:
    """A picture as it stands in the page."""

    uri: str
    width_px: int
    height_px: int


class Album:
    """Embeds pictures until the page has no more room for them."""

    def __init__(self, home: Path, *, budget_bytes: int = BUDGET_BYTES) -> None:
        self._home = home
        self._left_bytes = budget_bytes
        self.embedded = 0
        self.left_out = 0
        """Pictures for which there was no room."""
        self.unreadable: list[str] = []
        """Why pictures that exist could not be read."""

    def embed(self, kind: Shown, image_name: str) -> Embedded | None:
        """Return a picture of a micrograph, None where there is none, no room, or it cannot be read."""
        path = kind.product.path(self._home, image_name)
        try:
            embedded = _read(path, kind.longest_px)
        except FileUnreadable as error:
            self.unreadable.append(error.message)
            return None
        if embedded is not None and len(embedded.uri) > self._left_bytes:
            self.left_out += 1
            return None
        if embedded is not None:
            self._left_bytes -= len(embedded.uri)
            self.embedded += 1
        return embedded


def _read(path: Path, longest_px: int) -> Embedded | None:
    try:
        with Image.open(path) as picture:
            return _shrink(picture, longest_px)
    except FileNotFoundError:
        return None
    except (OSError, Image.DecompressionBombError, SyntaxError, ValueError) as error:
        # Pillow says what is wrong with the bytes of a picture in any of these.
        raise FileUnreadable(path, error if isinstance(error, OSError) else OSError(str(error))) from error


def _shrink(picture: Image.Image, longest_px: int) -> Embedded:
    small = picture.convert("L" if picture.mode in {"1", "L", "I;16"} else "RGB")
    small.thumbnail((longest_px, longest_px), Image.Resampling.LANCZOS, reducing_gap=2.0)
    encoded = BytesIO()
    small.save(encoded, format="JPEG", quality=_QUALITY, optimize=True)
    text = base64.b64encode(encoded.getvalue()).decode()
    return Embedded(f"data:image/jpeg;base64,{text}", *small.size)


def choose_examples(rows: list[dict[str, object]], each: int = 3) -> dict[str, list[dict[str, object]]]:
    """Return the best, the median and the worst micrographs by the resolution to which their CTF fits.

    Fits that are not to be trusted count as worse than all others. Nobody is shown twice: of few micrographs the best
    are chosen first, then the worst.
    """
    fitted = [row for row in rows if row.get("ctf_confident") is not None]
    ranked = sorted(fitted, key=_quality)
    each = max(1, min(each, len(ranked) // 3)) if ranked else 0
    middle = max(each, (len(ranked) - each) // 2)
    worst = ranked[max(len(ranked) - each, each) :]
    median = ranked[middle : min(middle + each, len(ranked) - len(worst))]
    return {"best": ranked[:each], "median": median, "worst": worst}


def _quality(row: dict[str, object]) -> tuple[bool, float, str]:
    resolution = row.get("fit_resolution_ang")
    is_number = isinstance(resolution, int | float)
    return (
        not row.get("ctf_confident"),
        float(resolution) if isinstance(resolution, int | float) and is_number else float("inf"),
        str(row.get("name")),
    )
