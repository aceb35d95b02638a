"""The picture of a CTF fit: measured and fitted rings side by side, their curves, and the numbers in words."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from daemon.domain.ctf import Ctf, CtfCurves, Curve
from daemon.formats.drawing import BLACK, BLUE, GREEN, GREY, VERMILION, Axes, Box, Canvas, Colour

_WIDTH_PX, _HEIGHT_PX = 1100, 580
_SQUARE = Box(20, 78, 440, 440)
_RINGS = Box(530, 78, 550, 250)
_QUALITY = Box(530, 388, 550, 100)
_ZEROS_SHOWN = 12
_SMOOTHING_RINGS = 21
_FREQUENCY = "spatial frequency, 1/Å"


def draw_ctf_plot(
    image_name: str,
    halves: npt.NDArray[np.uint8],
    ctf: Ctf | None,
    curves: CtfCurves | None,
    doubt: str,
    depth: str = "",
    *,
    edge_per_ang: float,
) -> npt.NDArray[np.uint8]:
    """Draw the picture, uint8 (y, x, 3). Without a CTF it says so.

    halves: uint8 square, measured rings left and fitted rings right; zero frequency in the middle, edge_per_ang (1/Å)
    in the middle of each side. doubt: why the fit is not to be trusted, else empty. depth: what is known of the
    specimen's tilt and thickness, in words.
    """
    canvas = Canvas(_WIDTH_PX, _HEIGHT_PX)
    canvas.text(20, 22, image_name, size_px=17)
    canvas.text(20, 50, _describe(ctf), size_px=14)
    canvas.text(_RINGS.left_px, _HEIGHT_PX - 30, depth, size_px=13)
    if doubt:
        canvas.text(20, _HEIGHT_PX - 18, f"Not to be trusted: {doubt}.", size_px=14, colour=VERMILION)
    canvas.image(halves, _SQUARE)
    canvas.rectangle(_SQUARE, outline=BLACK)
    if ctf is None or curves is None:
        return canvas.pixels()
    middle, below = _SQUARE.left_px + _SQUARE.width_px / 2, _SQUARE.top_px + _SQUARE.height_px + 14
    canvas.text(middle - 12, below, "measured", size_px=13, align="right")
    _draw_rings(canvas, curves, ctf.fit_resolution_ang)
    if ctf.fit_resolution_ang is not None:
        canvas.text(middle + 12, below, "fitted", size_px=13)
        _draw_end(canvas, 1 / (ctf.fit_resolution_ang * edge_per_ang))
        _draw_quality(canvas, curves, ctf.fit_resolution_ang)
    return canvas.pixels()


def _describe(ctf: Ctf | None) -> str:
    """Say the numbers in words."""
    if ctf is None:
        return "No CTF could be fitted."
    if ctf.fit_resolution_ang is None:
        return "No rings found that a CTF agrees with."
    shift = f", phase shift {ctf.phase_shift_deg:.0f}°" if ctf.phase_shift_deg else ""
    return (
        f"Defocus {ctf.defocus_u_ang / 1e4:.3f} / {ctf.defocus_v_ang / 1e4:.3f} µm, astigmatism "
        f"{ctf.astigmatism_ang:.0f} Å at {ctf.astigmatism_angle_deg:.0f}°{shift}, rings agree "
        f"to {ctf.fit_resolution_ang:.1f} Å, score {ctf.score:.3f}"
    )


def _draw_rings(canvas: Canvas, curves: CtfCurves, fit_resolution_ang: float | None) -> None:
    """Both curves about the middle of the rings, over the local swing: faint rings show as well as strong ones."""
    frequency = curves.frequency_per_ang
    axes = Axes(canvas, _RINGS, (float(frequency[0]), float(frequency[-1])), (-2.4, 2.4))
    axes.frame("" if fit_resolution_ang else _FREQUENCY, "rings, scaled", y_ticks=False)
    believed = frequency <= (1 / fit_resolution_ang if fit_resolution_ang else 0.0)
    for zero in _minima(curves.ctf_squared)[:_ZEROS_SHOWN]:
        if believed[zero]:
            axes.vertical(float(frequency[zero]), GREY, dashed=True)
    middle = curves.background + curves.envelope / 2
    measured, fitted = curves.measured_equal_phase / middle - 1, curves.fitted / middle - 1
    swing = np.sqrt(2 * _smooth(np.maximum(measured**2, fitted**2)))
    swing = np.maximum(swing, 1e-12)
    axes.curve(frequency, measured / swing, BLUE, width_px=1.4)
    if fit_resolution_ang is None:
        _list_curves(canvas, (("measured", BLUE),))
        return
    axes.curve(frequency, np.where(believed, fitted / swing, np.nan), VERMILION, width_px=1.8)
    axes.vertical(1 / fit_resolution_ang, GREEN)
    _list_curves(
        canvas, (("measured", BLUE), ("fitted", VERMILION), ("zeros of the CTF", GREY), ("end of the fit", GREEN))
    )


def _draw_end(canvas: Canvas, radius: float) -> None:
    """The end of the fit in the spectrum, dashed: a circle, its radius in halves of the square."""
    half = _SQUARE.width_px / 2
    x, y = _SQUARE.left_px + half, _SQUARE.top_px + half
    if radius >= 1:
        return
    for first in range(0, 360, 6):
        angles = np.radians(np.arange(first, first + 4))
        points = np.stack((x + radius * half * np.cos(angles), y + radius * half * np.sin(angles)), axis=1)
        canvas.line([(float(at), float(to)) for at, to in points], GREEN, width_px=1.2)


def _list_curves(canvas: Canvas, entries: Sequence[tuple[str, Colour]]) -> None:
    """Say over the curves which is which."""
    top = _RINGS.top_px - 10
    for index, (words, colour) in enumerate(entries):
        left = _RINGS.left_px + 8 + 132 * index
        canvas.line([(left, top), (left + 18, top)], colour, width_px=2)
        canvas.text(left + 24, top, words, size_px=12)


def _draw_quality(canvas: Canvas, curves: CtfCurves, fit_resolution_ang: float) -> None:
    frequency = curves.frequency_per_ang
    axes = Axes(canvas, _QUALITY, (float(frequency[0]), float(frequency[-1])), (-0.5, 1.0))
    axes.frame(_FREQUENCY, "agreement")
    axes.curve(frequency[[0, -1]], np.array([0.5, 0.5]), GREY, width_px=1)
    axes.curve(frequency, curves.quality, BLACK)
    axes.vertical(1 / fit_resolution_ang, GREEN)


def _minima(values: Curve) -> npt.NDArray[np.int64]:
    """Indices of local minima."""
    inner = values[1:-1]
    return np.flatnonzero((inner < values[:-2]) & (inner <= values[2:])) + 1


def _smooth(values: Curve) -> Curve:
    """Running mean, shorter at the ends."""
    kernel = np.ones(min(_SMOOTHING_RINGS, len(values)))
    return np.convolve(values, kernel, "same") / np.convolve(np.ones_like(values), kernel, "same")
