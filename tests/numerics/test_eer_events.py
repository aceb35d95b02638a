"""Events decoded and counted by the kernels' twins are those that were written, to the last bit."""

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.formats.eer_fixed import add_fixed_events
from daemon.formats.eer_scheme import EER_65000, EER_65001, EerScheme, variable_scheme
from daemon.formats.eer_writer import encode_events
from daemon.numerics.kernels.eer_events import (
    EventLayout,
    EventList,
    EventStreams,
    add_events,
    decode_events,
    place_streams,
)

SHAPE_YX = (24, 36)
PIXELS = SHAPE_YX[0] * SHAPE_YX[1]


def layout_of(scheme: EerScheme) -> EventLayout:
    return EventLayout(scheme.run_bits, scheme.x_bits, scheme.y_bits, scheme.skip_bits)


def join(frames: list[bytes]) -> EventStreams:
    first_byte_f, size = place_streams([len(frame) for frame in frames])
    stream_b = np.zeros(size, np.uint8)
    for first, frame in zip(first_byte_f, frames, strict=True):
        stream_b[first : first + len(frame)] = np.frombuffer(frame, np.uint8)
    return EventStreams(torch.from_numpy(stream_b), first_byte_f, tuple(map(len, frames)))


def draw(rate: float, seed: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Places on the 4× grid, one in a pixel at most."""
    rng = np.random.default_rng(seed)
    pixel = np.flatnonzero(rng.random(PIXELS) < rate)
    x = (pixel % SHAPE_YX[1]) * 4 + rng.integers(0, 4, pixel.size)
    y = (pixel // SHAPE_YX[1]) * 4 + rng.integers(0, 4, pixel.size)
    return x, y


SCHEMES = [EER_65000, EER_65001, variable_scheme(5, 2, 2), variable_scheme(11, 2, 2)]


@settings(deadline=None, max_examples=25)
@given(st.sampled_from(SCHEMES), st.sampled_from([0.0, 0.01, 0.3, 1.0]), st.integers(0, 1000))
def test_what_was_written_is_counted(scheme: EerScheme, rate: float, seed: int) -> None:
    places = [draw(rate, seed + frame) for frame in range(3)]
    streams = join([encode_events(x, y, SHAPE_YX, scheme) for x, y in places])
    events = decode_events(streams, layout_of(scheme), PIXELS)
    assert events.count_f.tolist() == [x.size for x, _ in places]
    for upsampling in (1, 2, 4):
        expected = np.zeros((SHAPE_YX[0] * upsampling, SHAPE_YX[1] * upsampling), np.uint8)
        for x, y in places[1:]:
            np.add.at(expected, (y * upsampling // 4, x * upsampling // 4), 1)
        for dtype in (torch.uint8, torch.uint16):
            out_yx = torch.zeros(expected.shape, dtype=dtype)
            add_events(events, 1, 3, SHAPE_YX[1], upsampling, out_yx)
            np.testing.assert_array_equal(out_yx.numpy(), expected)


def test_both_decoders_of_fixed_tokens_agree() -> None:
    x, y = draw(0.2, 5)
    stream = encode_events(x, y, SHAPE_YX, EER_65000)
    events = decode_events(join([stream]), layout_of(EER_65000), PIXELS)
    for upsampling in (1, 2, 4):
        shape = (SHAPE_YX[0] * upsampling, SHAPE_YX[1] * upsampling)
        expected, out_yx = np.zeros(shape, np.uint8), torch.zeros(shape, dtype=torch.uint8)
        add_fixed_events(stream, SHAPE_YX, expected)
        add_events(events, 0, 1, SHAPE_YX[1], upsampling, out_yx)
        np.testing.assert_array_equal(out_yx.numpy(), expected)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_stream_that_ends_elsewhere_is_named(scheme: EerScheme) -> None:
    whole = encode_events(*draw(0.2, 1), SHAPE_YX, scheme)
    with pytest.raises(ValueError, match="hardware frame 2 lead to pixel"):
        decode_events(join([whole, whole[: len(whole) // 2]]), layout_of(scheme), PIXELS)
    with pytest.raises(ValueError, match="hardware frame 1 lead to pixel"):
        decode_events(join([whole]), layout_of(scheme), PIXELS + 1000)


def test_coarse_places_are_counted_where_they_lie() -> None:
    """One bit a place, of which the top one is stored inverted: right half, upper half."""
    # Run length 0, x stored as 0, y as 1; then 7 empty pixels close the frame of 2 × 4.
    events = decode_events(join([bytes([0b0000_0000, 0b0000_1111])]), EventLayout(7, 1, 1, 7), 8)
    out_yx = torch.zeros((4, 8), dtype=torch.uint8)
    add_events(events, 0, 1, 4, 2, out_yx)
    assert out_yx.nonzero().tolist() == [[0, 1]]


def test_what_cannot_be_is_refused() -> None:
    stream = encode_events(*draw(0.2, 1), SHAPE_YX, EER_65001)
    streams = join([stream])
    with pytest.raises(ValueError, match="need 8 more"):
        EventStreams(streams.stream_b[:-12], streams.first_byte_f, streams.size_bytes_f)
    with pytest.raises(ValueError, match="multiples of 4"):
        EventStreams(streams.stream_b, (1,), (4,))
    with pytest.raises(ValueError, match="pixels"):
        decode_events(streams, layout_of(EER_65001), 1 << 27)
    events: EventList = decode_events(streams, layout_of(EER_65001), PIXELS)
    with pytest.raises(ValueError, match="contiguous"):
        add_events(events, 0, 1, SHAPE_YX[1], 3, torch.zeros(SHAPE_YX, dtype=torch.uint8))
    with pytest.raises(ValueError, match="uint8"):
        add_events(events, 0, 1, SHAPE_YX[1], 1, torch.zeros(SHAPE_YX))
    with pytest.raises(ValueError, match="no hardware frames"):
        add_events(events, 0, 2, SHAPE_YX[1], 1, torch.zeros(SHAPE_YX, dtype=torch.uint8))
