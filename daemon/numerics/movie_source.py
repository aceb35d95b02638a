"""Where raw frames come from: a tensor of all of them, or whoever brings a frame when it is asked for."""

from typing import Protocol

import torch
from torch import Tensor


class MovieSource(Protocol):
    """Frames (t, y, x) of one type on one device; a tensor is one.

    source[frame] is the raw frame (y, x), of which nothing is changed. Several threads may ask at once, and for the
    same frame again. A frame that is not kept anywhere is let go of as soon as it has been used.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Frames, rows, columns."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """Type of the raw values."""
        ...

    @property
    def device(self) -> torch.device:
        """Where frames lie once they were asked for."""
        ...

    def __getitem__(self, frame: int, /) -> Tensor:
        """One raw frame (y, x)."""
        ...
