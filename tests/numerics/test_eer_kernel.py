"""Events counted by the compiled kernel: as the format's definition has them, and streams that are wrong told."""

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.formats.eer_scheme import EER_65000, EER_65001, GRID, EerScheme, variable_scheme
from daemon.formats.eer_writer import encode_events
from daemon.numerics.kernels import HAS_COMPILER

if not HAS_COMPILER:
    pytest.skip("numba is not installed", allow_module_level=True)

from daemon.numerics.kernels.eer_cpu import SLACK_BYTES, Layout, count_events
from daemon.numerics.kernels.eer_events import EventLayout, EventStreams, decode_events, place_streams

SCHEMES = [EER_65000, EER_65001, variable_scheme(5, 2, 2), variable_scheme(14, 2, 2), variable_scheme(8, 1, 1)]
FINER = {1: 0, 2: 1, 4: 2}


def count(
    streams: list[bytes], shape_yx: tuple[int, int], scheme: EerScheme, upsampling: int, counts: npt.NDArray[np.uint8]
) -> int:
    height, width = shape_yx
    layout = Layout(width, height * width, scheme.run_bits, scheme.x_bits, scheme.y_bits, scheme.skip_bits)
    sizes = np.array([len(stream) for stream in streams])
    packed = np.frombuffer(bytearray(b"".join([*streams, bytes(SLACK_BYTES)])), np.uint8)
    starts = np.cumsum(sizes) - sizes
    wrong: int = count_events(packed, starts, sizes, layout, FINER[upsampling], counts)
    return wrong


def draw_events(
    shape_yx: tuple[int, int], share: float, generator: np.random.Generator
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Places (x, y) on the 4× grid, one at most in a pixel."""
    y, x = np.nonzero(generator.random(shape_yx) < share)
    return GRID * x + generator.integers(0, GRID, x.size), GRID * y + generator.integers(0, GRID, y.size)


@settings(max_examples=80, deadline=None)
@given(
    height=st.integers(1, 60),
    width=st.integers(1, 700),
    share=st.sampled_from([0.0, 0.002, 0.05, 0.5, 1.0]),
    scheme=st.sampled_from(SCHEMES),
    upsampling=st.sampled_from([1, 2, 4]),
    seed=st.integers(0, 9),
)
def test_every_event_is_counted_where_it_is(
    height: int, width: int, share: float, scheme: EerScheme, upsampling: int, seed: int
) -> None:
    if upsampling == 4 and scheme.x_bits < 2:
        return
    generator = np.random.default_rng(seed)
    expected_yx = np.zeros((height * upsampling, width * upsampling), np.uint8)
    streams = []
    for _ in range(3):
        x, y = draw_events((height, width), share, generator)
        streams.append(encode_events(x, y, (height, width), scheme))
        np.add.at(expected_yx, (y * upsampling // GRID, x * upsampling // GRID), 1)
    counts = np.zeros(expected_yx.size, np.uint8)
    assert count(streams, (height, width), scheme, upsampling, counts) == -1
    np.testing.assert_array_equal(counts.reshape(expected_yx.shape), expected_yx)


@settings(max_examples=300, deadline=None)
@given(data=st.data(), scheme=st.sampled_from(SCHEMES), upsampling=st.sampled_from([1, 2]))
def test_wrong_streams_are_told(data: st.DataObject, scheme: EerScheme, upsampling: int) -> None:
    """Cut short, with bits turned, of noise or of zeros at the end: never is anything beyond the arrays touched."""
    shape_yx, generator = (40, 300), np.random.default_rng(data.draw(st.integers(0, 9)))
    whole = encode_events(*draw_events(shape_yx, 0.05, generator), shape_yx, scheme)
    damaged = bytearray(whole)
    kind = data.draw(st.sampled_from(["cut", "zeros", "turned", "noise", "longer"]))
    if kind == "cut":
        del damaged[data.draw(st.integers(0, len(damaged) - 3)) :]
    elif kind == "zeros":
        damaged[len(damaged) // 2 :] = bytes(len(damaged) - len(damaged) // 2)
    elif kind == "turned":
        damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    elif kind == "noise":
        damaged[:] = generator.bytes(len(damaged))
    else:
        damaged += b"\xff" * 40
    guarded = np.full(shape_yx[0] * shape_yx[1] * upsampling**2 + 2048, 7, np.uint8)
    counts = guarded[1024:-1024]
    wrong = count([whole, bytes(damaged)], shape_yx, scheme, upsampling, counts)
    assert wrong in (-1, 1)
    if kind in ("cut", "zeros"):
        assert wrong == 1
    if kind == "longer":
        assert wrong == -1
    assert (guarded[:1024] == 7).all()
    assert (guarded[-1024:] == 7).all()


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("is_last_hit", [False, True])
def test_both_decoders_accept_the_same_streams(scheme: EerScheme, *, is_last_hit: bool) -> None:
    """Whole or cut anywhere, also within an event in the last pixel, which leads to the end as a whole one does."""
    x, y = np.array([4, 30] if is_last_hit else [4]), np.array([0, 22] if is_last_hit else [0])
    whole = encode_events(x, y, (6, 8), scheme)
    layout = EventLayout(scheme.run_bits, scheme.x_bits, scheme.y_bits, scheme.skip_bits)
    accepted = []
    for size in range(1, len(whole) + 1):
        stream_b = np.zeros(place_streams([size])[1], np.uint8)
        stream_b[:size] = np.frombuffer(whole[:size], np.uint8)
        try:
            events = decode_events(EventStreams(torch.from_numpy(stream_b), (0,), (size,)), layout, 48)
        except ValueError:
            twin = False
        else:
            twin = events.count_f.tolist() == [len(x)]
        wrong = count([whole[:size]], (6, 8), scheme, 1, np.zeros(48, np.uint8))
        assert (wrong == -1) == twin, size
        accepted.append(twin)
    assert accepted[-1]
    assert not accepted[0]
