"""Strips of LZW against the encoder of another library, and against damage."""

import imagecodecs
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.numerics.kernels import HAS_COMPILER

if not HAS_COMPILER:
    pytest.skip("numba is not installed: nothing to test", allow_module_level=True)

from daemon.numerics.kernels.lzw_cpu import SLACK_BYTES, decode_strips

Bytes = npt.NDArray[np.uint8]


def _decode(strips: list[bytes], rows: int, shape: tuple[int, int], *, flipped: bool = False) -> tuple[bool, Bytes]:
    """Decode into the middle of a larger array, nothing else of which may change."""
    packed = np.frombuffer(b"".join(strips) + b"\xff" * SLACK_BYTES, np.uint8).copy()
    sizes = np.array([len(strip) for strip in strips])
    guarded = np.full((shape[0] + 2, shape[1]), 171, np.uint8)
    out_yb = guarded[1:-1]
    done = decode_strips(packed, np.cumsum(sizes) - sizes, sizes, rows, out_yb, flipped)
    assert (guarded[[0, -1]] == 171).all()
    return bool(done), out_yb


def _image(kind: str, shape: tuple[int, int], seed: int) -> Bytes:
    generator = np.random.default_rng(seed)
    if kind == "counts":
        return generator.poisson(0.8, shape).astype(np.uint8)
    if kind == "noise":
        return generator.integers(0, 256, shape, np.uint8)
    if kind == "runs":
        return np.repeat(generator.integers(0, 3, shape[0] * shape[1] // 37 + 1, np.uint8), 37)[
            : shape[0] * shape[1]
        ].reshape(shape)
    return np.full(shape, seed % 256, np.uint8)


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(["counts", "noise", "runs", "constant"]),
    height=st.integers(1, 40),
    width=st.integers(1, 900),
    rows=st.integers(1, 40),
    seed=st.integers(0, 999),
    flipped=st.booleans(),
)
def test_what_another_library_encodes_is_decoded(
    kind: str, height: int, width: int, rows: int, seed: int, flipped: bool
) -> None:
    image_yb = _image(kind, (height, width), seed)
    strips = [bytes(imagecodecs.lzw_encode(image_yb[top : top + rows].tobytes())) for top in range(0, height, rows)]
    done, out_yb = _decode(strips, rows, (height, width), flipped=flipped)
    assert done
    np.testing.assert_array_equal(out_yb[::-1] if flipped else out_yb, image_yb)


def test_a_strip_as_large_as_a_frame_fills_and_clears_the_table_many_times() -> None:
    image_yb = _image("counts", (700, 900), 3)
    done, out_yb = _decode([bytes(imagecodecs.lzw_encode(image_yb.tobytes()))], 700, image_yb.shape)
    assert done
    np.testing.assert_array_equal(out_yb, image_yb)


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(["counts", "noise", "constant"]),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4),
    cut=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_damage_is_refused_or_gives_bytes_and_touches_nothing_else(
    kind: str, changes: list[tuple[float, int]], cut: float, seed: int
) -> None:
    image_yb = _image(kind, (6, 500), seed)
    strip = bytearray(imagecodecs.lzw_encode(image_yb.tobytes()))
    for place, value in changes:
        strip[int(place * len(strip))] = value
    _decode([bytes(strip[: 1 + int(cut * len(strip))])], 6, image_yb.shape)


def test_too_much_too_little_and_no_clear_code_are_refused() -> None:
    image_yb = _image("counts", (4, 300), 5)
    strip = bytes(imagecodecs.lzw_encode(image_yb.tobytes()))
    assert _decode([strip], 4, (4, 300))[0]
    assert not _decode([strip[: len(strip) // 2]], 4, (4, 300))[0]
    assert not _decode([strip], 4, (4, 320))[0], "it ends before all rows are there"
    assert not _decode([b"\x03" + strip[1:]], 4, (4, 300))[0]
