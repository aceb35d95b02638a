"""Filtering images in Fourier space without a second image: rows and columns are transformed a strip at a time.

Of a canvas with larger pixels only the coefficients that these keep are ever held.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from jaxtyping import Complex, Float
from torch import Tensor
from torch.nn.functional import pad

from daemon.numerics.fourier import resize_columns, resize_rows
from daemon.numerics.motion_canvas import Canvas
from daemon.numerics.parallel import map_in_order

_STRIP_ROWS, _STRIP_COLUMNS = 64, 128

Filter = Callable[[slice], Float[Tensor, "py n"]]
"""Factors of some columns of the half-plane transform of a canvas, in the larger pixels it is binned to."""


Room = tuple[Complex[Tensor, "py n"], Complex[Tensor, "by n"]]
"""Two half-plane transforms of a canvas, cut along x, and along both axes, to what binning leaves."""


def filter_on_canvas(
    images: Sequence[tuple[Float[Tensor, "y x"], Filter]], canvas: Canvas, room: Room, last_alone: Filter | None = None
) -> tuple[Complex[Tensor, "by n"], ...]:
    """Sum of images, each mirrored beyond its edges and filtered by its own factors: its transform, cut.

    After it comes that of the last image by itself, filtered by `last_alone`, where that is given. They lie in the
    room, which the next call overwrites; `leave_canvas` makes images of them.
    """
    if not images:
        raise ValueError("there is no image to be filtered")
    rows_yx, total = room
    for index, (image_yx, factors) in enumerate(images):
        _transform_rows(image_yx, canvas, rows_yx)
        alone = last_alone if index == len(images) - 1 else None
        _add_filtered(total, rows_yx, factors, is_first=index == 0, alone=alone)
    return (total,) if last_alone is None else (total, rows_yx[: total.shape[0]])


def make_room(canvas: Canvas, device: torch.device) -> Room:
    """Room for transforms, which one call after the other may use: memory that is new costs more than what is done."""
    columns = canvas.binned_yx[1] // 2 + 1
    rows_yx = torch.empty((canvas.padded_yx[0], columns), dtype=torch.complex64, device=device)
    return rows_yx, torch.empty((canvas.binned_yx[0], columns), dtype=torch.complex64, device=device)


def _transform_rows(image_yx: Tensor, canvas: Canvas, rows_yx: Tensor) -> None:
    """Transform along x only, cut along x; rows of the canvas beyond the image are those they mirror."""
    (height, width), (top, left) = canvas.shape_yx, canvas.margin_yx
    padded_height, padded_width = canvas.padded_yx
    binned_width = canvas.binned_yx[1]

    def transform(rows: slice) -> None:
        strip_yx = pad(image_yx[rows], (left, padded_width - width - left), mode="reflect")
        rows_yx[top + rows.start : top + rows.stop] = resize_columns(
            torch.fft.rfft(strip_yx), padded_width, binned_width
        )

    _run(transform, _strips(height, _STRIP_ROWS, image_yx), image_yx)
    below = padded_height - top - height
    rows_yx[:top] = rows_yx[top + 1 : 2 * top + 1].flip(0)
    rows_yx[padded_height - below :] = rows_yx[padded_height - 2 * below - 1 : padded_height - below - 1].flip(0)


def _add_filtered(total: Tensor, rows_yx: Tensor, factors: Filter, *, is_first: bool, alone: Filter | None) -> None:
    """Transform along y, cut, filter and add; what comes of `alone` takes the place of what was transformed."""

    def add(columns: slice) -> None:
        kept_yx = resize_rows(torch.fft.fft(rows_yx[:, columns], dim=0), total.shape[0])
        if alone is not None:
            torch.mul(kept_yx, alone(columns), out=rows_yx[: total.shape[0], columns])
        if is_first:
            torch.mul(kept_yx, factors(columns), out=total[:, columns])
        else:
            total[:, columns] += kept_yx.mul_(factors(columns))

    _run(add, _strips(total.shape[1], _STRIP_COLUMNS, total), total)


def leave_canvas(
    total: Complex[Tensor, "by n"], canvas: Canvas, corner_yx: tuple[int, int], shape_yx: tuple[int, int]
) -> Float[Tensor, "y x"]:
    """Image of a transform, which is overwritten: shape_yx larger pixels from corner_yx on."""
    (height, width), (top, left) = shape_yx, canvas.cut_corner_yx
    top, left = top + corner_yx[0], left + corner_yx[1]
    image_yx = torch.empty(height, width, device=total.device)

    def columns_back(columns: slice) -> None:
        total[:, columns] = torch.fft.ifft(total[:, columns], dim=0)

    def rows_back(rows: slice) -> None:
        strip_yx = torch.fft.irfft(total[top + rows.start : top + rows.stop], n=canvas.binned_yx[1])
        image_yx[rows] = strip_yx[:, left : left + width]
        if canvas.binning > 1:
            image_yx[rows] *= canvas.level

    _run(columns_back, _strips(total.shape[1], _STRIP_COLUMNS, total), total)
    _run(rows_back, _strips(height, _STRIP_ROWS, total), total)
    return image_yx


def _strips(size: int, strip: int, where: Tensor) -> Iterator[slice]:
    """Slices of an axis that suit the cache; a GPU takes it whole."""
    step = strip if where.device.type == "cpu" else size
    for first in range(0, size, step):
        yield slice(first, min(first + step, size))


def _run(work: Callable[[slice], None], strips: Iterator[slice], where: Tensor) -> None:
    for _ in map_in_order(work, strips, device=where.device):
        pass
