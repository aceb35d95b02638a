"""RELION's motion STAR: signs, the polynomial, and the exact field."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from daemon.domain.motion import MotionField
from daemon.exchange.relion.motion import (
    EerRendering,
    MotionStarHeader,
    evaluate_local,
    local_coefficients,
    motion_blocks,
    read_motion,
)
from daemon.formats.star import find_block, format_star, parse_star

HEADER = MotionStarHeader("frames/a.tif", 8, 0.83, 300.0, 1.25, "gains/gain.mrc")


def field(local: bool) -> MotionField:
    rng = np.random.default_rng(1)
    global_t2 = np.cumsum(rng.normal(size=(8, 2)), axis=0)
    global_t2 -= global_t2[0]
    local_tyx2 = rng.normal(size=(8, 9, 11, 2))
    local_tyx2 -= local_tyx2[:1]
    return MotionField(5760, 4092, global_t2, local_tyx2 if local else None)


@pytest.mark.parametrize("local", [False, True])
def test_a_written_field_reads_back(local: bool, tmp_path: Path) -> None:
    written = field(local)
    blocks = parse_star(format_star(motion_blocks(written, HEADER)), tmp_path / "a_motion.star")
    read = read_motion(blocks)
    assert (read.width_px, read.height_px) == (5760, 4092)
    np.testing.assert_allclose(read.global_t2, written.global_t2, atol=1e-6)
    if local:
        assert read.local_tyx2 is not None
        assert written.local_tyx2 is not None
        np.testing.assert_allclose(read.local_tyx2, written.local_tyx2, atol=1e-6)
    else:
        assert read.local_tyx2 is None


def test_the_star_holds_the_correction_not_the_motion() -> None:
    shifts = find_block(motion_blocks(field(False), HEADER), "global_shift")
    assert shifts is not None
    np.testing.assert_allclose(shifts.floats("rlnMicrographShiftX"), -field(False).global_t2[:, 0], atol=1e-6)
    assert shifts.integers("rlnMicrographFrameNumber")[0] == 1


def test_coefficients_follow_relions_order_and_sign() -> None:
    # shift_x = 0.5 z x and shift_y = −0.25 z² y², written out by hand
    x = np.linspace(-0.5, 0.5, 9)[None, None, :]
    y = np.linspace(-0.5, 0.5, 9)[None, :, None]
    z = np.arange(6.0)[:, None, None]
    shift = np.stack(np.broadcast_arrays(0.5 * z * x, -0.25 * z**2 * y**2), axis=-1)
    coefficients = local_coefficients(-shift)
    expected = np.zeros(36)
    expected[3 * 1 + 0] = 0.5  # X: term x, power z
    expected[18 + 3 * 4 + 1] = -0.25  # Y: term y², power z²
    np.testing.assert_allclose(coefficients, expected, atol=1e-9)
    np.testing.assert_allclose(evaluate_local(coefficients, 6, 9, 9), -shift, atol=1e-9)


def test_a_reader_without_our_block_gets_the_polynomial() -> None:
    written = field(True)
    blocks = [block for block in motion_blocks(written, HEADER) if block.name != "elcano_local_shift"]
    read = read_motion(blocks)
    assert read.local_tyx2 is not None
    assert read.local_tyx2.shape == (8, 9, 9, 2)
    np.testing.assert_allclose(read.local_tyx2[0], 0, atol=1e-12)


@pytest.mark.parametrize(("upsampling", "written"), [(1, 1), (2, 2), (4, 3)])
def test_relion_counts_doublings_of_an_eer_sensor(upsampling: int, written: int) -> None:
    header = replace(HEADER, eer=EerRendering(grouping=25, upsampling=upsampling))
    general = find_block(motion_blocks(field(False), header), "general")
    assert general is not None
    assert general.value("rlnEERUpsampling") == written
    assert general.value("rlnEERGrouping") == 25


def test_other_movies_have_no_eer_lines() -> None:
    general = find_block(motion_blocks(field(False), HEADER), "general")
    assert general is not None
    assert not {"rlnEERUpsampling", "rlnEERGrouping"} & set(general.columns)


def test_other_stars_are_refused() -> None:
    with pytest.raises(ValueError, match="global_shift"):
        read_motion([])
