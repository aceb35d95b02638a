"""Compiled kernels of the motion estimate against their torch twins, and frames that are halved against whole ones."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from daemon.formats.mrc import MODE_DTYPES
from daemon.numerics import motion_halving, motion_score, motion_stack, surroundings
from daemon.numerics.detector import FrameCorrection, find_defects
from daemon.numerics.fourier import resize_columns, resize_rows
from daemon.numerics.kernels import has_kernels
from daemon.numerics.motion_field import LocalField, MotionEstimate
from daemon.numerics.motion_halving import design_half_bands, halve_frame, halved_shape
from daemon.numerics.motion_patches import Fading
from daemon.numerics.motion_reduction import ReducedMovie, group_frames, reduce_movie
from daemon.numerics.motion_score import RadialBins
from daemon.numerics.motion_stack import cut_packed, pack, pack_cut, unpack
from daemon.numerics.motion_sum import correct_motion

pytestmark = pytest.mark.skipif(not has_kernels(torch.device("cpu")), reason="numba is not installed")

_FRAMES, _ROWS, _COLUMNS = 5, 150, 81
_KY = torch.fft.fftfreq(_ROWS, d=1.7)[:, None]
_KX = torch.fft.rfftfreq(2 * (_COLUMNS - 1), d=1.9)[None, :]


@pytest.fixture
def twins(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From its call on, torch does what kernels did."""

    def leave_to_torch() -> None:
        for module in (motion_halving, motion_score, motion_stack):
            monkeypatch.setattr(module, "has_kernels", lambda device: False)

    return leave_to_torch


def _stack(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    frames_tyx = torch.randn(_FRAMES, _ROWS, _COLUMNS, dtype=torch.complex64, generator=generator)
    return pack(frames_tyx), 3 * torch.randn(_FRAMES, 2, dtype=torch.float64, generator=generator)


def _sums(frames_tyx2: Tensor, shift_t2: Tensor, weight_yx: Tensor) -> list[Tensor]:
    bins = RadialBins(_KY, _KX, low=0.01, high=0.22)
    total_yx = motion_score.sum_aligned(frames_tyx2, shift_t2, _KY, _KX)
    weight_a = torch.linspace(0.5, 2, bins.rings, dtype=torch.float64)
    frame_weight_st = torch.linspace(0.1, 1, 2 * _FRAMES).reshape(2, _FRAMES)
    return [
        total_yx,
        motion_score.shift_gradient(frames_tyx2, shift_t2, total_yx, weight_yx, _KY, _KX),
        motion_score.sum_frames(frames_tyx2),
        motion_score.sum_power(frames_tyx2, frame_weight_st),
        motion_score.ring_powers(frames_tyx2, bins),
        bins.total(weight_yx),
        *motion_score.expand_stack(frames_tyx2, shift_t2, weight_a, _KY, _KX, bins),
        *motion_score.expand_stack(frames_tyx2, shift_t2, weight_a, _KY, _KX, bins, with_gradient=False),
        motion_score.correlate_with_others(frames_tyx2, 3, shift_t2, total_yx, weight_yx, _KY, _KX),
    ]


def test_sums_over_stacks_are_those_of_their_twins(twins: Callable[[], None]) -> None:
    generator = torch.Generator().manual_seed(0)
    (frames_tyx2, shift_t2), weight_yx = _stack(generator), torch.rand(_ROWS, _COLUMNS, generator=generator)
    compiled = _sums(frames_tyx2, shift_t2, weight_yx)
    twins()
    for ours, reference in zip(compiled, _sums(frames_tyx2, shift_t2, weight_yx), strict=True):
        assert ours.dtype == reference.dtype
        torch.testing.assert_close(
            ours, reference, rtol=2e-5, atol=2e-5 * float(reference.abs().sum()) / max(1, reference.numel())
        )


@pytest.mark.parametrize("columns", [_COLUMNS, 700])
def test_stacks_are_expanded_alike_one_by_one_and_together(columns: int, twins: Callable[[], None]) -> None:
    """Wide ones in several calls and narrow ones in one, whatever the number of threads."""
    generator = torch.Generator().manual_seed(6)
    frames_ptyx2 = pack(torch.randn(11, 3, 70, columns, dtype=torch.complex64, generator=generator))
    shift_pt2 = torch.randn(11, 3, 2, dtype=torch.float64, generator=generator)
    ky, kx = torch.fft.fftfreq(70)[:, None], torch.fft.rfftfreq(2 * (columns - 1))[None, :]
    bins = RadialBins(ky, kx, low=0.05, high=0.45)
    weight_pa = torch.rand(11, bins.rings, dtype=torch.float64, generator=generator)
    own = [
        motion_score.expand_stack(*each, ky, kx, bins) for each in zip(frames_ptyx2, shift_pt2, weight_pa, strict=True)
    ]
    together = motion_score.expand_stacks(frames_ptyx2, shift_pt2, weight_pa, ky, kx, bins)
    nothing = motion_score.expand_stacks(frames_ptyx2, shift_pt2, weight_pa, ky, kx, bins, with_gradient=False)
    assert torch.equal(nothing[0], together[0])
    assert nothing[1].numel() == 0
    twins()
    reference = motion_score.expand_stacks(frames_ptyx2, shift_pt2, weight_pa, ky, kx, bins)
    for part, expected in enumerate(reference):
        tolerance = 2e-5 * float(expected.abs().mean())
        torch.testing.assert_close(torch.stack([each[part] for each in own]), expected, rtol=2e-5, atol=tolerance)
        torch.testing.assert_close(together[part], expected, rtol=2e-5, atol=tolerance)


def test_a_stack_too_large_to_turn_at_once_is_expanded_alike(
    twins: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = torch.Generator().manual_seed(7)
    frames_tyx2, shift_t2 = _stack(generator)
    bins = RadialBins(_KY, _KX, low=0.01, high=0.22)
    weight_a = torch.rand(bins.rings, dtype=torch.float64, generator=generator)
    twins()
    results = []
    for largest in (frames_tyx2.numel(), 1000):
        monkeypatch.setattr(motion_score, "_BLOCK_ELSEWHERE", largest)
        results.append(motion_score.expand_stack(frames_tyx2, shift_t2, weight_a, _KY, _KX, bins))
    for at_once, in_parts in zip(*results, strict=True):
        torch.testing.assert_close(in_parts, at_once, rtol=2e-5, atol=2e-5 * float(at_once.abs().mean()))


@pytest.mark.parametrize("has_gain", [True, False])
def test_deviation_from_surroundings_is_that_of_its_twin(has_gain: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(8)
    mean_yx = torch.poisson(torch.full((301, 70), 40.0), generator=generator) / 40
    mean_yx[17, 23], mean_yx[0, 0], mean_yx[300, 69], mean_yx[5, 6] = 9, 0, 12, math.nan
    gain_yx = 0.8 + 0.4 * torch.rand(mean_yx.shape, generator=generator) if has_gain else None
    known_yx = torch.rand(mean_yx.shape, generator=generator) < 0.01 if has_gain else None
    if gain_yx is not None:
        gain_yx[30, 31:34] = torch.tensor([0.0, math.inf, -1.0])
    ours = surroundings.deviate_from_surroundings(mean_yx, 40, gain_yx, known_yx)
    ours_yx = find_defects(mean_yx, frames=40, gain_yx=gain_yx, known_yx=known_yx)
    monkeypatch.setattr(surroundings, "has_kernels", lambda device: False)
    reference = surroundings.deviate_from_surroundings(mean_yx, 40, gain_yx, known_yx)
    torch.testing.assert_close(ours[0], reference[0], rtol=1e-5, atol=1e-4)
    assert torch.equal(ours[1], reference[1])
    assert torch.equal(ours_yx, find_defects(mean_yx, frames=40, gain_yx=gain_yx, known_yx=known_yx))
    assert bool(ours_yx[17, 23] and ours_yx[0, 0] and ours_yx[300, 69] and ours_yx[5, 6])


def test_packing_is_that_of_its_twin(twins: Callable[[], None]) -> None:
    generator = torch.Generator().manual_seed(1)
    spectrum_yx = torch.randn(96, 49, dtype=torch.complex64, generator=generator)
    factor_y, factor_x = torch.rand(50, generator=generator), torch.rand(30, generator=generator)
    factor_y[25] = factor_x[-1] = 0
    measured_y2 = torch.randint(0, 15, (50, 2), generator=generator).cumsum(dim=1)
    measured_y2[7] = 0
    results = []
    for is_twin in (False, True):
        if is_twin:
            twins()
        packed_yx2 = torch.full((50, 30, 2), math.nan, dtype=torch.bfloat16)
        results.append((packed_yx2, *pack_cut(spectrum_yx, factor_y, factor_x, measured_y2, packed_yx2)))
    (ours_yx2, power, count), (reference_yx2, reference_power, reference_count) = results
    assert torch.equal(ours_yx2, reference_yx2)
    assert power == pytest.approx(reference_power, rel=1e-5)
    assert count == reference_count > 0


def test_cutting_keeps_every_low_frequency() -> None:
    image_yx = torch.randn(40, 36, generator=torch.Generator().manual_seed(4))
    spectrum_yx = torch.fft.rfft2(image_yx)
    cut_yx = unpack(cut_packed(pack(spectrum_yx)[None], (40, 36), (20, 12)))[0]
    small_yx = resize_columns(resize_rows(unpack(pack(spectrum_yx)), 20), 36, 12)
    small_yx[10], small_yx[:, 6] = 0, 0
    assert torch.equal(cut_yx, small_yx)
    assert torch.equal(unpack(cut_packed(pack(spectrum_yx)[None], (40, 36), (40, 36)))[0], unpack(pack(spectrum_yx)))


@pytest.mark.parametrize("shape_yx", [(97, 130), (128, 65), (64, 64)])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.float32])
@pytest.mark.parametrize("highest", [0.1, 0.21])
def test_halving_is_that_of_its_twin(
    shape_yx: tuple[int, int], dtype: torch.dtype, highest: float, twins: Callable[[], None]
) -> None:
    generator = torch.Generator().manual_seed(2)
    raw_yx = torch.poisson(torch.full(shape_yx, 3.0), generator=generator).to(dtype)
    gain_yx = 0.5 + torch.rand(shape_yx, generator=generator)
    defects_yx = torch.rand(shape_yx, generator=generator) < 0.02
    raw_yx[defects_yx] = 100
    filters = design_half_bands(highest)
    assert len(filters) == (2 if highest < 0.115 else 1)
    for correction in (
        FrameCorrection(shape_yx, gain_yx, defects_yx, torch.rand(shape_yx, generator=generator)),
        FrameCorrection(shape_yx, None, None),
    ):
        ours_yx, reference_yx = (torch.full(halved_shape(shape_yx, len(filters)), math.nan) for _ in range(2))
        halve_frame(raw_yx, correction, filters, half_yx=ours_yx)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(motion_halving, "has_kernels", lambda device: False)
            halve_frame(raw_yx, correction, filters, half_yx=reference_yx)
        torch.testing.assert_close(ours_yx, reference_yx, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("code", sorted({*MODE_DTYPES.values(), "f8", "i4", "u4"}))
def test_every_type_that_files_hold_is_halved(code: str) -> None:
    """Whole numbers below 100 are the same in all of them."""
    shape_yx = (65, 71)
    counts_yx = torch.poisson(torch.full(shape_yx, 9.0), generator=torch.Generator().manual_seed(5))
    raw_yx = torch.from_numpy(counts_yx.numpy().astype(code))
    correction, filters = FrameCorrection(shape_yx, torch.full(shape_yx, 0.5), None), design_half_bands(0.1)
    halves = [torch.full(halved_shape(shape_yx, len(filters)), math.nan) for _ in range(2)]
    for each_yx, half_yx in zip((raw_yx, counts_yx), halves, strict=True):
        halve_frame(each_yx, correction, filters, half_yx=half_yx)
    assert torch.equal(*halves)


def test_short_floats_are_warped() -> None:
    shape_yx = (65, 71)
    counts_tyx = torch.poisson(torch.full((2, *shape_yx), 9.0), generator=torch.Generator().manual_seed(6))
    field = LocalField(torch.zeros(2, 4, 4, 2, dtype=torch.float64).index_fill_(0, torch.tensor(1), 0.3), shape_yx)
    found = MotionEstimate(
        shape_yx, torch.zeros(2, 2, dtype=torch.float64), field, None, 0.0, torch.zeros(2, dtype=torch.float64), 9.0
    )
    movies = (counts_tyx.half(), counts_tyx)
    ours, reference = (correct_motion(each, found, pixel_size_ang=1.0).unweighted_yx for each in movies)
    assert torch.equal(ours, reference)


def test_one_row_or_column_is_mirrored_onto_itself(twins: Callable[[], None]) -> None:
    raw_yx = torch.arange(9.0)[None]
    filters = design_half_bands(0.21)
    results = []
    for is_twin in (False, True):
        if is_twin:
            twins()
        for image_yx in (raw_yx, raw_yx.T.contiguous()):
            shape_yx = (int(image_yx.shape[0]), int(image_yx.shape[1]))
            half_yx = torch.full(halved_shape(shape_yx, 1), math.nan)
            halve_frame(image_yx, FrameCorrection(shape_yx, None, None), filters, half_yx=half_yx)
            results.append(half_yx.flatten())
    for each in results[1:]:
        torch.testing.assert_close(each, results[0])


def _reduce(movie_tyx: Tensor, highest: float) -> ReducedMovie:
    shape_yx = (int(movie_tyx.shape[1]), int(movie_tyx.shape[2]))
    return reduce_movie(
        movie_tyx,
        FrameCorrection(shape_yx, None, None),
        highest_frequency_per_px=highest,
        groups=group_frames(len(movie_tyx), 64),
        on_group=lambda _: None,
    )


@pytest.mark.parametrize("highest", [0.05, 0.1, 0.15, 0.2, 0.22])
def test_halved_frames_have_the_transforms_of_whole_ones(highest: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """What folds back stays below a hundredth of white noise, and what filters took is made up for."""
    generator = torch.Generator().manual_seed(3)
    movie_tyx = torch.poisson(torch.full((3, 480, 448), 5.0), generator=generator).to(torch.uint8)
    # Edges are mirrored, where whole frames begin anew: nothing happens there.
    for edge_tyx in (movie_tyx[:, :40], movie_tyx[:, -40:], movie_tyx[..., :40], movie_tyx[..., -40:]):
        edge_tyx.fill_(5)
    halved = _reduce(movie_tyx, highest)
    monkeypatch.setattr("daemon.numerics.motion_reduction.design_half_bands", lambda highest: ())
    whole = _reduce(movie_tyx, highest)
    assert halved.shape_yx == whole.shape_yx
    assert halved.spacing_yx_px == whole.spacing_yx_px
    torch.testing.assert_close(halved.amplitude_t, whole.amplitude_t, rtol=1e-3, atol=0)
    radius_yx = torch.hypot(whole.ky, whole.kx)
    used_yx = (radius_yx <= highest) & (whole.ky != 0) & (whole.kx != 0)
    difference = (unpack(halved.spectra_tyx2) - unpack(whole.spectra_tyx2))[:, used_yx]
    power = unpack(whole.spectra_tyx2)[:, used_yx].abs().square().mean()
    assert float(difference.abs().square().mean() / power) < 1e-4


def test_what_is_too_fine_is_not_halved() -> None:
    assert design_half_bands(0.25) == ()


def test_early_frames_count_more_at_high_frequencies() -> None:
    amplitude_ga = Fading(torch.tensor([1.0, 5.0, 9.0, 201.0]), 1.0).amplitude(torch.tensor([0.0, 0.05, 0.2]))
    assert torch.equal(amplitude_ga[0], torch.ones(3, dtype=torch.float64))
    # Of protein exp(−N / 2N_e) is left after 8 e⁻/Å² at 5 Å.
    left = math.exp(-8 / (2 * (0.245 * 0.2**-1.665 + 2.81)))
    assert float(amplitude_ga[2, 2]) == pytest.approx(left**0.75, rel=1e-6)
    assert bool((amplitude_ga.diff(dim=0) < 0).all() and (amplitude_ga[1:3].diff(dim=1) < 0).all())
    assert amplitude_ga[3, 1:].tolist() == [0.3, 0.3], "specimens that do not fade keep a part in late frames"
