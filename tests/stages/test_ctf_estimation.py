"""ctf_estimation: products, metrics, and what it does without rings or parameters."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pydantic
import pytest
import torch

from daemon.errors import AcquisitionUnknown, ProductMissing, TaskCancelled
from daemon.formats.rotational_average import read_rotational_average
from daemon.formats.star import find_block, read_star
from daemon.numerics.simulation import SimulatedOptics
from daemon.numerics.spectrum import spectrum_pixel_ang, tile_power_spectrum
from daemon.pipeline.product import ALIGNED, CTF_PLOT, CTF_ROTATIONAL_AVERAGE, CTF_SPECTRUM, CTF_STAR, SPECTRUM
from daemon.stages.ctf_estimation import CtfEstimation, CtfParams
from daemon.stages.ctf_results import CtfMetrics
from tests.exchange.relion_ctf import read_ctf
from tests.numerics.micrographs import simulate_deep_micrograph
from tests.numerics.thon_samples import make_spectrum, make_thick_spectrum
from tests.stages.fakes import ACQUISITION, FakeContext, FakeInputs, make_item, read_picture

STAGE = CtfEstimation()
# The samples' spectra have 1.4 Å pixels: the pixel of an image of that pixel size.
SAMPLED = replace(ACQUISITION, pixel_size_ang=1.4)


def make_context(home: Path, spectrum_yx: np.ndarray) -> FakeContext:
    """A micrograph too small to tell a tilt goes with the spectrum."""
    return FakeContext(home, inputs=FakeInputs({SPECTRUM: spectrum_yx, ALIGNED: np.zeros((64, 64), np.float32)}))


def rings(**how: float) -> np.ndarray:
    return np.asarray(make_spectrum(13000, 12000, -60, **how).spectrum_yx.numpy())  # type: ignore[arg-type]


def test_every_product_is_written_and_tells_the_same(tmp_path: Path) -> None:
    assert spectrum_pixel_ang(1.4, box_px=256) == pytest.approx(1.4)
    context = make_context(tmp_path, rings())
    result = STAGE.run(make_item(acquisition=SAMPLED), CtfParams(), context)
    metrics = result.metrics
    assert isinstance(metrics, CtfMetrics)
    assert set(context.written) == set(STAGE.produces)
    assert metrics.confident
    assert result.warnings == ()
    assert metrics.warning is None
    assert metrics.defocus_u_ang == pytest.approx(13000, abs=60)
    assert metrics.defocus_v_ang == pytest.approx(12000, abs=60)
    assert metrics.phase_shift_deg == 0
    assert metrics.phase_shift_sigma_deg is None
    assert metrics.astigmatism_sigma_ang is not None
    assert 0 < metrics.astigmatism_sigma_ang < 60
    assert metrics.astigmatism_angle_sigma_deg is not None
    assert 0 < metrics.astigmatism_angle_sigma_deg < 4
    assert metrics.tilt_angle_deg is None
    assert metrics.thickness_ang is None
    assert metrics.defocus_change_ang is None

    blocks = read_star(context.written[CTF_STAR])
    ctf = read_ctf(blocks)
    assert ctf is not None
    assert ctf.defocus_u_ang == pytest.approx(metrics.defocus_u_ang)
    assert ctf.fit_resolution_ang == pytest.approx(metrics.fit_resolution_ang)
    table = find_block(blocks, "micrographs")
    assert table is not None
    assert table.strings("rlnMicrographName") == ["motioncor/image_00001_aligned.mrc"]
    assert table.strings("rlnCtfImage") == ["ctf/image_00001_ctf.mrc:mrc"]

    raw = context.written[CTF_SPECTRUM].read_bytes()
    pixels = np.frombuffer(raw[1024:], "<f4").reshape(256, 256)
    assert np.array_equal(pixels, context.values[CTF_SPECTRUM])
    assert float(np.frombuffer(raw[40:44], "<f4")[0]) == pytest.approx(256 * 1.4)
    assert read_picture(context.written[CTF_PLOT]).shape[2] == 3
    assert len(read_rotational_average(context.written[CTF_ROTATIONAL_AVERAGE])) == 6


def test_same_spectrum_gives_the_same_bytes(tmp_path: Path) -> None:
    contexts = [make_context(tmp_path / folder, rings()) for folder in ("one", "other")]
    for context in contexts:
        STAGE.run(make_item(acquisition=SAMPLED), CtfParams(), context)
    for product in STAGE.produces:
        one, other = (context.written[product].read_bytes() for context in contexts)
        assert one == other


def test_a_phase_plate_is_fitted_when_the_session_had_one(tmp_path: Path) -> None:
    spectrum_yx = rings(phase_shift_deg=90)
    plate = replace(SAMPLED, phase_plate=True)
    found = STAGE.run(make_item(acquisition=plate), CtfParams(), make_context(tmp_path, spectrum_yx)).metrics
    assert isinstance(found, CtfMetrics)
    assert found.phase_shift_deg == pytest.approx(90, abs=6)
    always = CtfParams(fit_phase="always")
    found = STAGE.run(make_item(acquisition=SAMPLED), always, make_context(tmp_path, spectrum_yx)).metrics
    assert isinstance(found, CtfMetrics)
    assert found.phase_shift_deg == pytest.approx(90, abs=6)
    never = CtfParams(fit_phase="never")
    found = STAGE.run(make_item(acquisition=plate), never, make_context(tmp_path, spectrum_yx)).metrics
    assert isinstance(found, CtfMetrics)
    assert found.phase_shift_deg == 0


def test_a_ring_of_ice_is_measured_beside_the_fit(tmp_path: Path) -> None:
    spectrum_yx = rings()
    from_centre = np.arange(256) - 128
    per_ang = np.hypot(from_centre[:, None], from_centre[None]) / (256 * 1.4)
    icy_yx = spectrum_yx * (1 + 6 * np.exp(-0.5 * ((per_ang - 1 / 3.67) / 0.004) ** 2))
    clear, icy = (
        STAGE.run(make_item(acquisition=SAMPLED), CtfParams(), make_context(tmp_path / name, each.astype(np.float32)))
        for name, each in (("clear", spectrum_yx), ("icy", icy_yx))
    )
    assert isinstance(clear.metrics, CtfMetrics)
    assert isinstance(icy.metrics, CtfMetrics)
    assert clear.metrics.ice_ring is not None
    assert clear.metrics.ice_ring < 1.5
    assert icy.metrics.ice_ring is not None
    assert icy.metrics.ice_ring > 4


def test_a_tilted_specimen_is_told_by_its_micrograph(tmp_path: Path) -> None:
    optics = SimulatedOptics(2.0, 15200.0, 14800.0, 40.0)
    tilted_yx = simulate_deep_micrograph(
        (1024, 1024), optics, 120.0, torch.Generator().manual_seed(2), tilt_angle_deg=25.0, tilt_axis_deg=-100.0
    )
    spectrum_yx = tile_power_spectrum(tilted_yx, 2.0).spectrum_yx.numpy()
    inputs = FakeInputs({SPECTRUM: spectrum_yx, ALIGNED: tilted_yx.numpy()})
    item = make_item(acquisition=replace(SAMPLED, pixel_size_ang=2.0), shape_tyx=(1, 1024, 1024))
    metrics = STAGE.run(item, CtfParams(), context := FakeContext(tmp_path, inputs=inputs)).metrics
    assert isinstance(metrics, CtfMetrics)
    # The picture says it, below the curves.
    assert (read_picture(context.written[CTF_PLOT])[540:560, 530:900] < 128).any()
    assert metrics.tilt_angle_deg == pytest.approx(25, abs=3)
    assert metrics.tilt_axis_deg == pytest.approx(-100, abs=10)
    assert metrics.tilt_angle_sigma_deg is not None
    assert metrics.defocus_slope_x is not None
    assert metrics.defocus_slope_x > 0
    assert metrics.defocus_slope_y is not None


def test_a_thick_specimen_is_told_by_its_spectrum(tmp_path: Path) -> None:
    context = make_context(tmp_path, make_thick_spectrum(1500.0).spectrum_yx.numpy())
    metrics = STAGE.run(make_item(acquisition=SAMPLED), CtfParams(), context).metrics
    assert isinstance(metrics, CtfMetrics)
    assert metrics.thickness_ang == pytest.approx(1500, abs=100)
    assert metrics.thickness_sigma_ang is not None
    assert metrics.thickness_sigma_ang < 100
    assert metrics.tilt_angle_deg is None


def moving_parts(change_ang: float) -> np.ndarray:
    """A spectrum and those of four parts of its movie, through which the defocus changes."""
    moved = [change_ang * share for share in (-0.375, -0.125, 0.125, 0.375)]
    parts = [
        make_spectrum(13000 + by, 12000 + by, -60, averaged=9, seed=seed, box_px=512).spectrum_yx
        for seed, by in enumerate(moved)
    ]
    return np.asarray(torch.stack([sum(parts[1:], parts[0]) / 4, *parts]).numpy())


def test_movement_along_the_beam_is_told(tmp_path: Path) -> None:
    result = STAGE.run(make_item(acquisition=SAMPLED), CtfParams(), make_context(tmp_path, moving_parts(300.0)))
    metrics = result.metrics
    assert isinstance(metrics, CtfMetrics)
    assert metrics.defocus_change_sigma_ang is not None
    assert 0 < metrics.defocus_change_sigma_ang < 60
    assert metrics.defocus_change_ang == pytest.approx(300, abs=4 * metrics.defocus_change_sigma_ang)
    assert metrics.defocus_u_ang == pytest.approx(13000, abs=60)
    assert result.warnings == (metrics.warning,)
    assert metrics.warning is not None
    assert "moved along the beam" in metrics.warning


def test_a_specimen_that_holds_still_is_no_warning(tmp_path: Path) -> None:
    context = make_context(tmp_path, moving_parts(0.0))
    result = STAGE.run(make_item(acquisition=SAMPLED), CtfParams(), context)
    assert isinstance(result.metrics, CtfMetrics)
    assert result.metrics.defocus_change_ang is not None
    assert result.metrics.warning is None
    fast = make_context(tmp_path / "fast", moving_parts(300.0))
    hasty = STAGE.run(make_item(acquisition=SAMPLED), CtfParams(effort="fast"), fast)
    assert isinstance(hasty.metrics, CtfMetrics)
    assert hasty.metrics.defocus_change_ang is None
    assert hasty.warnings == ()


def test_fast_effort_places_the_rings_and_asks_for_nothing_else(tmp_path: Path) -> None:
    fast = FakeContext(tmp_path, inputs=FakeInputs({SPECTRUM: rings()}))
    metrics = STAGE.run(make_item(acquisition=SAMPLED), CtfParams(effort="fast"), fast).metrics
    assert isinstance(metrics, CtfMetrics)
    assert metrics.confident
    assert metrics.defocus_u_ang == pytest.approx(13000, abs=60)
    assert metrics.defocus_v_ang == pytest.approx(12000, abs=60)
    assert metrics.defocus_sigma_ang is not None
    assert metrics.tilt_angle_deg is None
    assert metrics.thickness_ang is None
    assert set(fast.written) == set(STAGE.produces)


def test_spectra_without_rings_are_reported_as_bad(tmp_path: Path) -> None:
    context = make_context(tmp_path, rings(ring_contrast=0.0))
    result = STAGE.run(make_item(acquisition=SAMPLED), CtfParams(), context)
    metrics = result.metrics
    assert isinstance(metrics, CtfMetrics)
    assert not metrics.confident
    assert metrics.warning is not None
    assert "no rings" in metrics.warning
    assert list(result.warnings) == context.logged.warnings
    assert set(context.written) == set(STAGE.produces)


def test_empty_spectra_complete_with_a_reason_and_no_row(tmp_path: Path) -> None:
    context = make_context(tmp_path, np.zeros((256, 256), dtype=np.float32))
    metrics = STAGE.run(make_item(acquisition=SAMPLED), CtfParams(), context).metrics
    assert isinstance(metrics, CtfMetrics)
    assert not metrics.confident
    assert metrics.defocus_u_ang is None
    assert metrics.warning is not None
    assert "no power" in metrics.warning
    assert set(context.written) == set(STAGE.produces)
    assert read_ctf(read_star(context.written[CTF_STAR])) is None


def test_of_a_binned_micrograph_the_rings_are_placed_by_its_own_pixel(tmp_path: Path) -> None:
    """0.7 Å binned to 1.4: the spectrum is that of the samples."""
    context = make_context(tmp_path, rings())
    acquisition = replace(SAMPLED, pixel_size_ang=0.7, motion_binning=2)
    metrics = STAGE.run(make_item(acquisition=acquisition), CtfParams(effort="fast"), context).metrics
    assert isinstance(metrics, CtfMetrics)
    assert metrics.defocus_u_ang == pytest.approx(13000, abs=60)
    optics = find_block(read_star(context.written[CTF_STAR]), "optics")
    assert optics is not None
    assert optics.floats("rlnMicrographOriginalPixelSize").tolist() == [0.7]
    assert optics.floats("rlnMicrographPixelSize").tolist() == [1.4]


@pytest.mark.parametrize("parameter", ["voltage_kv", "spherical_aberration_mm", "pixel_size_ang"])
def test_physics_is_never_guessed(tmp_path: Path, parameter: str) -> None:
    item = make_item(acquisition=replace(SAMPLED, **{parameter: None}))  # type: ignore[arg-type]
    context = make_context(tmp_path, rings())
    with pytest.raises(AcquisitionUnknown, match=parameter):
        STAGE.run(item, CtfParams(), context)
    assert not context.written


def test_a_usual_amplitude_contrast_is_assumed_aloud(tmp_path: Path) -> None:
    item = make_item(acquisition=replace(SAMPLED, amplitude_contrast=None))
    result = STAGE.run(item, CtfParams(default_amplitude_contrast=0.08), make_context(tmp_path, rings()))
    assert isinstance(result.metrics, CtfMetrics)
    assert result.metrics.amplitude_contrast == 0.08
    assert result.warnings == ("amplitude contrast is not known: 0.08 is assumed",)
    assert result.metrics.confident


def test_cancelled_and_unfed_runs_write_nothing(tmp_path: Path) -> None:
    cancelled = make_context(tmp_path, rings())
    cancelled.is_cancelled = lambda: True
    with pytest.raises(TaskCancelled):
        STAGE.run(make_item(acquisition=SAMPLED), CtfParams(), cancelled)
    unfed = FakeContext(tmp_path)
    with pytest.raises(ProductMissing):
        STAGE.run(make_item(acquisition=SAMPLED), CtfParams(), unfed)
    assert not cancelled.written
    assert not unfed.written


@pytest.mark.parametrize(
    "wrong",
    [
        {"lowest_defocus_ang": 60_000},
        {"highest_resolution_ang": 19, "lowest_resolution_ang": 20},
        {"fit_phase": "perhaps"},
        {"defocus": 1},
        {"largest_astigmatism_ang": -1},
    ],
)
def test_impossible_parameters_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(pydantic.ValidationError):
        CtfParams.model_validate(wrong)


def test_needs_grow_with_the_micrograph_where_a_tilt_is_looked_for() -> None:
    small, large = make_item().movie, make_item(shape_tyx=(40, 4092, 5760)).movie
    more = 4 * (4092 * 5760 - 512 * 512)
    assert STAGE.needs(large, CtfParams()).host_bytes >= STAGE.needs(small, CtfParams()).host_bytes + more
    assert STAGE.needs(large, CtfParams()).device_bytes >= STAGE.needs(small, CtfParams()).device_bytes + more
    fast = CtfParams(effort="fast")
    assert STAGE.needs(small, fast) == STAGE.needs(large, fast)
