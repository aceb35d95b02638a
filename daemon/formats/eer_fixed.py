"""Decoder of EER compression 65000, whose tokens all have 12 bits, so that a frame is decoded as one array.

imagecodecs decodes the schemes whose bare run lengths are shorter, see `eer`.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from daemon.formats.eer_scheme import EER_65000, GRID


def add_fixed_events(events: bytes, sensor_shape_yx: tuple[int, int], out_yx: npt.NDArray[Any]) -> None:
    """Add one hardware frame to `out_yx`, whose shape is the sensor's times 1, 2 or 4.

    Raises ValueError where the stream does not end exactly behind the last pixel.
    """
    height_px, width_px = sensor_shape_yx
    upsampling = out_yx.shape[0] // height_px
    run, place = _split_tokens(events)
    is_event = run < EER_65000.longest_run
    # The pixel a token leads to: all runs up to it, and one for each event before it.
    pixel = np.cumsum(run + is_event) - is_event
    pixel = _cut_at_the_end(pixel, is_event, height_px * width_px)
    is_event = is_event[: pixel.size]
    pixel, place = pixel[is_event], place[: is_event.size][is_event]
    if upsampling == 1:
        out_yx.reshape(-1)[pixel] += 1
        return
    # The top bit of each coordinate inside the pixel is stored inverted.
    step = GRID // upsampling
    y, x = np.divmod(pixel, width_px)
    y = y * upsampling + (((place >> 2) & 3) ^ 2) // step
    x = x * upsampling + ((place & 3) ^ 2) // step
    # A pixel has one event in a hardware frame at most, so no index comes twice.
    out_yx.reshape(-1)[y * (width_px * upsampling) + x] += 1


def _split_tokens(events: bytes) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """Return run lengths and places; two tokens lie in three bytes."""
    whole = np.frombuffer(events + b"\0" * (-len(events) % 3), dtype=np.uint8).reshape(-1, 3)
    first, middle, last = whole[:, 0], whole[:, 1], whole[:, 2]
    run = np.empty((len(whole), 2), dtype=np.int64)
    run[:, 0] = first
    run[:, 1] = (middle >> 4) | ((last & 15) << 4)
    place = np.stack([middle & 15, last >> 4], axis=1)
    count = (len(events) * 8 + EER_65000.skip_bits - EER_65000.run_bits) // EER_65000.skip_bits
    return run.reshape(-1)[:count], place.reshape(-1)[:count]


def _cut_at_the_end(
    pixel: npt.NDArray[np.int64], is_event: npt.NDArray[np.bool_], pixel_count: int
) -> npt.NDArray[np.int64]:
    """Return the pixels of the tokens before the one that closes the frame; bytes after it are padding."""
    behind = pixel[-1:] + is_event[-1:]  # where nothing follows the last event, the frame ends with it
    end = int(np.searchsorted(pixel, pixel_count))
    reached = int(np.append(pixel, behind)[end]) if pixel.size else 0
    if reached != pixel_count:
        raise ValueError(f"they lead to pixel {reached} of {pixel_count}")
    return pixel[:end]
