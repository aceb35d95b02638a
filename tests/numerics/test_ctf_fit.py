"""CTF fits against known truth: exact spectra with honest noise, simulated micrographs, real ones, and junk."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from daemon.numerics.ctf_fit import CtfFit, CtfOptions, NoCtf, fit_ctf
from daemon.numerics.ctf_fit_quality import find_agreement
from daemon.numerics.simulation import SimulatedOptics, simulate_movie
from daemon.numerics.simulation_motion import still
from daemon.numerics.spectrum import PartSpectra, PowerSpectrum, tile_power_spectrum
from tests.numerics.micrographs import simulate_micrograph
from tests.numerics.thon_samples import ABERRATION_MM, CONTRAST, VOLTAGE_KV, angle_between, make_spectrum

MICROGRAPHS = Path(__file__).parents[2] / "../shared/data/micrographs"


def fit(spectrum: PowerSpectrum, options: CtfOptions | None = None, contrast: float = CONTRAST) -> CtfFit:
    found = fit_ctf(
        spectrum,
        voltage_kv=VOLTAGE_KV,
        spherical_aberration_mm=ABERRATION_MM,
        amplitude_contrast=contrast,
        options=options,
    )
    assert isinstance(found, CtfFit)
    return found


@pytest.mark.parametrize(
    ("u", "v", "angle_deg"),
    [(9000, 8900, 10), (13000, 12000, -60), (11000, 10500, 85), (6500, 6200, 45), (12500, 10000, 20)],
)
def test_noisy_spectra_are_fitted_within_their_own_uncertainty(u: float, v: float, angle_deg: float) -> None:
    found = fit(make_spectrum(u, v, angle_deg))
    sigma = found.uncertainty
    assert found.confident, found.reason
    assert found.defocus_u_ang >= found.defocus_v_ang
    assert -90 < found.astigmatism_angle_deg <= 90
    assert abs(0.5 * (found.defocus_u_ang + found.defocus_v_ang) - 0.5 * (u + v)) < 4 * sigma.defocus_ang < 60
    assert abs(found.defocus_u_ang - found.defocus_v_ang - (u - v)) < 4 * sigma.astigmatism_ang < 160
    if u - v >= 500:
        assert angle_between(found.astigmatism_angle_deg, angle_deg) < 4 * sigma.astigmatism_angle_deg < 8
    assert found.phase_shift_deg == 0
    assert sigma.phase_shift_deg is None


@pytest.mark.parametrize("phase_shift_deg", [30.0, 90.0, 150.0])
def test_phase_shift_is_found(phase_shift_deg: float) -> None:
    spectrum = make_spectrum(11500, 10800, -20, phase_shift_deg=phase_shift_deg)
    found = fit(spectrum, CtfOptions(fit_phase=True))
    assert found.confident, found.reason
    assert found.uncertainty.phase_shift_deg is not None
    assert abs(found.phase_shift_deg - phase_shift_deg) < 4 * found.uncertainty.phase_shift_deg < 16
    assert abs(0.5 * (found.defocus_u_ang + found.defocus_v_ang) - 11150) < 60


def test_a_known_phase_shift_is_taken_as_it_is() -> None:
    found = fit(make_spectrum(11500, 10800, -20, phase_shift_deg=60), CtfOptions(phase_shift_deg=60))
    assert found.confident, found.reason
    assert found.phase_shift_deg == pytest.approx(60)
    assert abs(0.5 * (found.defocus_u_ang + found.defocus_v_ang) - 11150) < 4 * found.uncertainty.defocus_ang


@pytest.mark.parametrize("is_fast", [False, True])
def test_stated_uncertainties_are_the_scatter_of_repeated_fits(*, is_fast: bool) -> None:
    pulls: dict[str, list[float]] = {"defocus": [], "astigmatism": [], "angle": [], "phase": []}
    for seed in range(8):
        spectrum = make_spectrum(12000, 11400, 30, phase_shift_deg=60, ring_contrast=0.4, averaged=4, seed=seed)
        found = fit(spectrum, CtfOptions(fit_phase=True, is_fast=is_fast))
        sigma = found.uncertainty
        assert sigma.phase_shift_deg is not None
        mean_ang = 0.5 * (found.defocus_u_ang + found.defocus_v_ang)
        pulls["defocus"].append((mean_ang - 11700) / sigma.defocus_ang)
        pulls["astigmatism"].append((found.defocus_u_ang - found.defocus_v_ang - 600) / sigma.astigmatism_ang)
        pulls["angle"].append(angle_between(found.astigmatism_angle_deg, 30) / sigma.astigmatism_angle_deg)
        pulls["phase"].append((found.phase_shift_deg - 60) / sigma.phase_shift_deg)
    # Eight draws leave a quarter of statistical error in each.
    for name, values in pulls.items():
        assert 0.45 < float(np.sqrt(np.mean(np.square(values)))) < 1.6, name


def test_turning_the_spectrum_turns_the_angle_only() -> None:
    spectrum = make_spectrum(13000, 12000, -60)
    inner = spectrum.spectrum_yx[1:, 1:]  # symmetric about zero frequency, so that turns are exact
    turned_yx = spectrum.spectrum_yx.clone()
    turned_yx[1:, 1:] = torch.rot90(inner, 1, (1, 0))
    one, other = fit(spectrum), fit(PowerSpectrum(turned_yx, spectrum.pixel_size_ang))
    assert abs(other.defocus_u_ang - one.defocus_u_ang) < 3
    assert angle_between(other.astigmatism_angle_deg, one.astigmatism_angle_deg + 90) < 0.5


def test_scale_of_the_spectrum_does_not_matter() -> None:
    spectrum = make_spectrum(13000, 12000, -60)
    one = fit(spectrum)
    for scale in (1e-12, 1e12):
        other = fit(PowerSpectrum(spectrum.spectrum_yx * scale, spectrum.pixel_size_ang))
        assert other.defocus_u_ang == pytest.approx(one.defocus_u_ang, abs=0.5)
        assert other.score == pytest.approx(one.score, abs=1e-4)


def test_same_spectrum_gives_the_same_bytes() -> None:
    one, other = (fit(make_spectrum(13000, 12000, -60)) for _ in range(2))
    assert one.defocus_u_ang == other.defocus_u_ang
    assert one.picture_yx.numpy().tobytes() == other.picture_yx.numpy().tobytes()
    assert one.average.quality.tobytes() == other.average.quality.tobytes()


def test_an_ice_ring_does_not_pull_the_fit() -> None:
    found = fit(make_spectrum(12000, 11500, 50, ice_ring=0.8))
    assert found.confident, found.reason
    assert abs(0.5 * (found.defocus_u_ang + found.defocus_v_ang) - 11750) < 4 * found.uncertainty.defocus_ang


def test_resolution_follows_how_far_rings_reach() -> None:
    reach = [
        fit(make_spectrum(12000, 11500, 50, decay_ang2=decay)).fit_resolution_ang or 999 for decay in (10, 80, 250)
    ]
    assert reach[0] < reach[1] < reach[2]
    assert reach[0] < 4 < reach[2]


def test_chance_beyond_the_last_ring_is_not_resolution() -> None:
    """Rings end at 10 Å; the last window that holds some of them reaches to 8.3 Å. Noise agrees here and there."""
    centred = (torch.arange(256) - 128) / (256 * 1.4)
    has_rings = torch.hypot(centred[:, None], centred[None, :]) < 0.1
    for seed in range(6):
        rings_yx = make_spectrum(12000, 11500, 50, ring_contrast=0.8, decay_ang2=0, averaged=4, seed=seed).spectrum_yx
        blank_yx = make_spectrum(12000, 11500, 50, ring_contrast=0.0, averaged=4, seed=seed).spectrum_yx
        found = fit(PowerSpectrum(torch.where(has_rings, rings_yx, 1.4 * blank_yx), 1.4)).fit_resolution_ang
        assert found is not None
        assert 8.3 < found < 10.5


def agreement_of(quality: list[float], half_width: int = 4) -> tuple[int, int] | None:
    count = len(quality)
    return find_agreement(np.array(quality), np.full(count, 0.7), np.full(count, half_width))


def test_agreement_ends_where_it_is_first_lost() -> None:
    lost = [0.9] * 20 + [0.1] * 12
    assert agreement_of([0.2] * 3 + lost) == (3, 22)
    # As long a stretch again later on is chance, or aliasing: it is not bridged and not preferred.
    assert agreement_of(lost + [0.8] * 40) == (0, 19)
    assert agreement_of([0.9] * 32) == (0, 31)


def test_a_short_dip_does_not_end_agreement() -> None:
    assert agreement_of([0.9] * 20 + [0.3] * 4 + [0.8] * 10 + [0.0] * 10) == (0, 33)


def test_agreement_by_chance_alone_keeps_the_end_where_it_is() -> None:
    """One ring in three above 0.5 beyond the end, never farther from the next than half a window."""
    assert agreement_of([0.9] * 20 + [0.1, 0.2, 0.55] * 15) == (0, 19)


@pytest.mark.parametrize("quality", [[0.4] * 40, [0.55] * 40, [0.9] * 3 + [0.2] * 37, [0.68] * 40], ids=str)
def test_nothing_agrees_where_agreement_is_never_sure(quality: list[float]) -> None:
    assert agreement_of(quality) is None


def test_curves_and_picture_belong_together() -> None:
    found = fit(make_spectrum(13000, 12000, -60))
    average = found.average
    lengths = {len(curve) for curve in vars(average).values()}
    assert len(lengths) == 1
    assert average.frequency_per_ang[0] == pytest.approx(1 / 30, rel=0.05)
    first_zero = average.frequency_per_ang[np.argmin(average.ctf_squared[:60])]
    low = np.argmin(average.measured_equal_phase / average.background)
    assert float(average.ctf_squared[low]) < 0.2
    assert first_zero > 0
    assert float(np.abs(average.quality).max()) <= 1 + 1e-9
    assert found.picture_yx.shape == (256, 256)
    assert -0.5 <= float(found.picture_yx.min()) <= float(found.picture_yx.max()) <= 1.5
    # A spectrum repeats after half a turn: the halves show the same rings.
    left, right = found.picture_yx[78:179, 78:115], found.picture_yx[78:179, 142:179].flip(0, 1)
    assert float(torch.corrcoef(torch.stack([left.flatten(), right.flatten()]))[0, 1]) > 0.5


@pytest.mark.parametrize("fit_phase", [False, True])
def test_noise_alone_is_never_believed(fit_phase: bool) -> None:
    for seed in range(4):
        spectrum = make_spectrum(12000, 11500, 50, ring_contrast=0.0, averaged=4, seed=seed)
        found = fit(spectrum, CtfOptions(fit_phase=fit_phase))
        assert not found.confident
        assert "rings" in found.reason
        assert found.fit_resolution_ang is None
        assert float((found.picture_yx[:, 129:] - 0.5).abs().max()) == 0


def test_rings_in_one_direction_only_are_called_drift() -> None:
    """Half of the directions replaced by the ringless mean: what drift along them leaves."""
    spectrum = make_spectrum(12000, 11500, 50, ring_contrast=1.0)
    blank = make_spectrum(12000, 11500, 50, ring_contrast=0.0)
    centred = torch.arange(256) - 128
    blurred = centred[None, :].abs() > centred[:, None].abs()
    found = fit(PowerSpectrum(torch.where(blurred, 1.4 * blank.spectrum_yx, spectrum.spectrum_yx), 1.4))
    assert not found.confident
    assert "direction" in found.reason


def test_defocus_beyond_the_search_is_not_believed() -> None:
    options = CtfOptions(lowest_defocus_ang=5000, highest_defocus_ang=9000)
    assert not fit(make_spectrum(13000, 12900, 0), options).confident


@pytest.mark.parametrize(
    "spectrum_yx",
    [
        torch.zeros(512, 512),
        -torch.ones(512, 512),
        torch.nn.functional.one_hot(torch.tensor(256 * 513), 512 * 512).reshape(512, 512).float(),
        torch.rand(32, 32, generator=torch.Generator().manual_seed(1)),
    ],
    ids=["zeros", "negative", "one bin", "tiny"],
)
def test_spectra_that_hold_nothing_give_a_reason(spectrum_yx: torch.Tensor) -> None:
    found = fit_ctf(
        PowerSpectrum(spectrum_yx, 1.4), voltage_kv=300, spherical_aberration_mm=2.7, amplitude_contrast=0.1
    )
    assert isinstance(found, NoCtf)
    assert not found.confident
    assert found.reason
    assert found.picture_yx.shape == spectrum_yx.shape


@pytest.mark.parametrize(
    "spectrum_yx",
    [
        torch.ones(256, 256),
        torch.arange(256 * 256.0).reshape(256, 256),
        1e20 * torch.rand(256, 256, generator=torch.Generator().manual_seed(1)) ** 8,
    ],
    ids=["flat", "ramp", "wild"],
)
def test_junk_is_not_believed(spectrum_yx: torch.Tensor) -> None:
    found = fit(PowerSpectrum(spectrum_yx, 1.4))
    assert not found.confident
    assert math.isfinite(found.defocus_u_ang)
    assert math.isfinite(found.score)
    assert found.fit_resolution_ang is None
    assert found.rings == 0


def test_pixels_too_coarse_for_rings_give_a_reason() -> None:
    found = fit_ctf(
        PowerSpectrum(torch.ones(512, 512), 40.0), voltage_kv=300, spherical_aberration_mm=2.7, amplitude_contrast=0.1
    )
    assert isinstance(found, NoCtf)
    assert "40.0 Å" in found.reason


def test_what_cannot_be_meant_is_refused() -> None:
    spectrum_yx = torch.ones(512, 512)
    spectrum_yx[5, 5] = math.nan
    with pytest.raises(ValueError, match="NaN"):
        fit(PowerSpectrum(spectrum_yx, 1.4))
    with pytest.raises(ValueError, match="amplitude contrast"):
        fit(make_spectrum(12000, 11500, 50), contrast=1.5)
    with pytest.raises(ValueError, match="defocus range"):
        CtfOptions(lowest_defocus_ang=9000, highest_defocus_ang=8000)
    with pytest.raises(ValueError, match="resolution"):
        CtfOptions(lowest_resolution_ang=5, highest_resolution_ang=8)


def test_simulated_micrograph_at_200_kv_comes_out_right() -> None:
    optics = SimulatedOptics(
        1.1, 17800.0, 17000.0, 35.0, voltage_kv=200.0, spherical_aberration_mm=2.0, amplitude_contrast=0.08
    )
    image_yx = simulate_micrograph((1024, 1024), optics, 40.0, torch.Generator().manual_seed(3))
    found = fit_ctf(
        tile_power_spectrum(image_yx, 1.1), voltage_kv=200, spherical_aberration_mm=2.0, amplitude_contrast=0.08
    )
    assert isinstance(found, CtfFit)
    assert found.confident, found.reason
    assert abs(found.defocus_u_ang - 17800) < 60
    assert abs(found.defocus_v_ang - 17000) < 60
    assert angle_between(found.astigmatism_angle_deg, 35) < 4


@pytest.mark.slow
def test_movies_of_dose_limited_sums_come_out_within_sixty_angstrom() -> None:
    errors = []
    for seed, (u, v, angle_deg) in enumerate([(13000, 12800, 10), (24500, 23600, -40), (29000, 28900, 80)]):
        optics = SimulatedOptics(1.0, u, v, angle_deg)
        movie = simulate_movie(
            (1024, 1024), 24, optics, 1.5, torch.Generator().manual_seed(seed), motion=still((1024, 1024), 24)
        )
        spectra = PartSpectra(1.0)
        for part_yx in movie.stack().float().reshape(8, 3, 1024, 1024).sum(1):
            spectra.add(part_yx)
        found = fit(spectra.conclude())
        assert found.confident, found.reason
        errors.append(abs(0.5 * (found.defocus_u_ang + found.defocus_v_ang) - 0.5 * (u + v)))
    assert float(np.median(errors)) < 60


def read_micrograph(name: str) -> torch.Tensor:
    path = MICROGRAPHS / name
    if not path.is_file():
        pytest.skip(f"{path} is not here: the shared test data are absent")
    if path.suffix == ".mrc":
        raw = path.read_bytes()
        width, height, extended = *np.frombuffer(raw[:8], "<i4"), int(np.frombuffer(raw[92:96], "<i4")[0])
        pixels = np.frombuffer(raw[1024 + extended :], "<u2").reshape(height, width)
    else:
        pixels = np.asarray(Image.open(path))
    return torch.from_numpy(pixels.astype(np.float32))


@pytest.mark.parametrize(
    ("name", "pixel_size_ang", "u", "v", "angle_deg"),
    [
        ("fei-extended.mrc", 0.85378, 10591, 10469, 122),
        ("May08_03.13.02.bin_avg.png", 1.5, 22474, 21482, 126),
        ("May08_03.15.02.bin_avg.png", 1.5, 23052, 22055, 124),
        ("May08_03.43.44.bin_avg.png", 1.5, 20664, 19831, 120),
        ("May08_04.32.27.bin_avg.png", 1.5, 17122, 16486, 135),
        ("May08_04.33.57.bin_avg.png", 1.5, 17119, 16683, 138),
    ],
)
def test_real_micrographs_agree_with_an_independent_fit(
    name: str, pixel_size_ang: float, u: float, v: float, angle_deg: float
) -> None:
    found = fit(tile_power_spectrum(read_micrograph(name), pixel_size_ang), contrast=0.07)
    assert found.confident, found.reason
    assert abs(found.defocus_u_ang - u) < 300
    assert abs(found.defocus_v_ang - v) < 300
    if u - v >= 400:
        assert angle_between(found.astigmatism_angle_deg, angle_deg) < 10
    assert found.fit_resolution_ang is not None
    assert found.fit_resolution_ang < 5


@pytest.mark.parametrize("name", ["May08_06.09.02.bin_avg.png", "May08_06.09.02.bin.png"])
@pytest.mark.parametrize("fit_phase", [False, True])
def test_a_micrograph_ruined_by_drift_is_called_bad(name: str, fit_phase: bool) -> None:
    spectrum = tile_power_spectrum(read_micrograph(name), 1.5)
    assert not fit(spectrum, CtfOptions(fit_phase=fit_phase), contrast=0.07).confident


@pytest.mark.parametrize("side_px", [64, 128, 256, 512])
def test_noise_of_small_images_shows_no_rings(side_px: int) -> None:
    """Bins of an image smaller than a tile are interpolated: many tell what one does."""
    for seed in range(6):
        noise_yx = torch.poisson(torch.full((side_px, side_px), 10.0), generator=torch.Generator().manual_seed(seed))
        found = fit(tile_power_spectrum(noise_yx, 1.0))
        assert not found.confident, (seed, found.significance)


def test_a_lattice_hides_no_rings() -> None:
    optics = SimulatedOptics(1.0, 15200, 14900, 30)
    movie = simulate_movie(
        (1024, 1024), 1, optics, 30.0, torch.Generator().manual_seed(1), motion=still((1024, 1024), 1), damage=False
    )
    image_yx = next(iter(movie)).float()
    x = torch.arange(1024, dtype=torch.float64)
    found = fit(tile_power_spectrum(image_yx + 2 * torch.sin(2 * math.pi * x / 8).float(), 1.0), contrast=0.07)
    assert abs(0.5 * (found.defocus_u_ang + found.defocus_v_ang) - 15050) < 60
