"""Defocus that was measured beside that which was asked for: far off it, a pixel size or a Cs is mistaken."""

from statistics import median

from daemon.domain.acquisition import Acquisition

FEWEST_FITS = 3
"""Trusted fits from which on something is said."""
_BEYOND = 4 / 3
"""How far beyond the range the median may lie: autofocus misses it by some tenths of a micrometre."""


def defocus_note(acquisition: Acquisition, measured_ang: list[float]) -> str | None:
    """Return what to say where the median defocus of trusted fits lies far outside the range that was asked for.

    None where it does not, where no range was given, and of fewer than FEWEST_FITS. Of a wrong pixel size p' defocus
    is measured (p'/p)^2 times too large or too small. The range is compared by its magnitude: microscopes call
    underfocus negative.
    """
    asked_um = acquisition.defocus_range_um
    if asked_um is None or asked_um[0] * asked_um[1] <= 0 or len(measured_ang) < FEWEST_FITS:
        return None
    low_um, high_um = sorted(map(abs, asked_um))
    middle_um = median(measured_ang) / 1e4
    if low_um / _BEYOND <= middle_um <= high_um * _BEYOND:
        return None
    return (
        f"the median defocus measured is {middle_um:.2g} µm (of {len(measured_ang)} trusted fits), and {asked_um[0]:g} "
        f"to {asked_um[1]:g} µm were asked for: the pixel size or Cs that is given may be wrong"
    )
