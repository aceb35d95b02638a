"""A CTF that someone else found, judged by a spectrum as a fit of our own is."""

import math
from typing import Any

import pytest
import torch

from daemon.numerics.ctf_fit import CtfFit, CtfOptions, NoCtf, fit_ctf, judge_ctf
from daemon.numerics.spectrum import PowerSpectrum
from tests.numerics.thon_samples import ABERRATION_MM, CONTRAST, PIXEL_ANG, VOLTAGE_KV, make_spectrum

LENS: dict[str, Any] = {
    "voltage_kv": VOLTAGE_KV,
    "spherical_aberration_mm": ABERRATION_MM,
    "amplitude_contrast": CONTRAST,
}
RIGHT: dict[str, Any] = {
    "defocus_u_ang": 13000.0,
    "defocus_v_ang": 12000.0,
    "astigmatism_angle_deg": -60.0,
    "phase_shift_deg": 0.0,
}


def judge(spectrum: PowerSpectrum, options: CtfOptions | None = None, **changes: float) -> CtfFit:
    found = judge_ctf(spectrum, **{**RIGHT, **changes}, **LENS, options=options)
    assert isinstance(found, CtfFit)
    return found


def test_our_own_numbers_are_judged_as_our_fit_was() -> None:
    spectrum = make_spectrum(13000, 12000, -60)
    fit = fit_ctf(spectrum, **LENS)
    assert isinstance(fit, CtfFit)
    names = ("defocus_u_ang", "defocus_v_ang", "astigmatism_angle_deg", "phase_shift_deg")
    numbers: dict[str, Any] = {name: getattr(fit, name) for name in names}
    judged = judge(spectrum, **numbers)
    for name in names:
        assert getattr(judged, name) == pytest.approx(getattr(fit, name), abs=1e-6), name
    assert judged.confident, judged.reason
    assert judged.fit_resolution_ang == pytest.approx(fit.fit_resolution_ang, rel=0.03)
    assert judged.score == pytest.approx(fit.score, abs=0.02)
    assert judged.rings == pytest.approx(fit.rings, rel=0.05)
    assert judged.picture_yx.shape == spectrum.spectrum_yx.shape


@pytest.mark.parametrize(
    "wrong",
    [{"defocus_u_ang": 25000.0, "defocus_v_ang": 24000.0}, {"phase_shift_deg": 90.0}, {"defocus_u_ang": 6500.0}],
)
def test_rings_that_lie_elsewhere_speak_against_it(wrong: dict[str, Any]) -> None:
    judged = judge(make_spectrum(13000, 12000, -60), **wrong)
    assert not judged.confident
    assert judged.reason


def test_a_phase_shift_that_is_there_speaks_for_it() -> None:
    spectrum = make_spectrum(13000, 12000, -60, phase_shift_deg=90)
    judged = judge(spectrum, CtfOptions(fit_phase=True), phase_shift_deg=90.0)
    assert judged.confident, judged.reason
    assert judged.phase_shift_deg == pytest.approx(90)


@pytest.mark.parametrize("seed", range(4))
def test_noise_speaks_for_nothing(seed: int) -> None:
    judged = judge(make_spectrum(13000, 12000, -60, ring_contrast=0.0, seed=seed))
    assert not judged.confident
    assert judged.significance < 5


def test_without_power_there_is_no_ctf() -> None:
    empty = PowerSpectrum(torch.zeros(256, 256), PIXEL_ANG)
    assert isinstance(judge_ctf(empty, **RIGHT, **LENS), NoCtf)


@pytest.mark.parametrize("wrong", [{"defocus_u_ang": math.nan}, {"defocus_u_ang": -13000.0}])
def test_what_is_no_ctf_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="finite numbers, its mean defocus positive"):
        judge(make_spectrum(13000, 12000, -60), **wrong)
