"""Pixel sizes as headers give them, right or wrong."""

_PLAUSIBLE_ANG = (0.01, 1000.0)


def plausible_pixel_size(pixel_size_ang: float) -> float | None:
    """Return a pixel size with 6 digits, or None when no electron microscope can have meant it."""
    lowest, highest = _PLAUSIBLE_ANG
    return float(f"{pixel_size_ang:.6g}") if lowest <= pixel_size_ang <= highest else None
