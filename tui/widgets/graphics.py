"""What pictures can be drawn with: the terminal's own graphics where it has them, else half cells.

The terminal is asked once, before the screen is taken over: afterwards its answer would be taken for keys. Where nobody
has asked (a browser, a test) there are half cells.
"""

import sys

from textual.widget import Widget

_USUAL_CELL_PX = (10, 20)


def ask_terminal() -> None:
    """Ask the terminal whether it draws Sixel or Kitty graphics, and how large its cells are."""
    import textual_image.widget  # noqa: F401, PLC0415 - asks as it is imported


def make_graphics() -> Widget | None:
    """Return a widget of textual-image that uses the terminal's own graphics; None where there are half cells."""
    if "textual_image.widget" not in sys.modules:
        return None
    from textual_image.renderable import Image as Found  # noqa: PLC0415
    from textual_image.renderable import SixelImage, TGPImage  # noqa: PLC0415
    from textual_image.widget import Image  # noqa: PLC0415

    return Image() if Found in {SixelImage, TGPImage} else None


def cell_size_px() -> tuple[int, int]:
    """Return width and height of a cell, as the terminal told it, else as it usually is."""
    if "textual_image.widget" not in sys.modules:
        return _USUAL_CELL_PX
    from textual_image._terminal import get_cell_size  # noqa: PLC0415 - it has no public name

    size = get_cell_size()
    return size.width, size.height
