"""Faint rings that more than one CTF fits: the likeliest is taken, and trusted only where no other comes near."""

import math
import re
from dataclasses import replace

import pytest
import torch

from daemon.numerics.ctf_background import fit_log_background, spline_basis
from daemon.numerics.ctf_fit import CtfFit, CtfOptions, fit_ctf
from daemon.numerics.ctf_fit_refine import BACKGROUND_SPLINES, RingFit
from daemon.numerics.ctf_fit_rivals import Choice, choose_fit
from daemon.numerics.ctf_fit_search import Candidate
from daemon.numerics.simulation import SimulatedOptics, simulate_movie
from daemon.numerics.simulation_motion import still
from daemon.numerics.spectrum import PowerSpectrum, tile_power_spectrum
from daemon.numerics.thon import Optics, select_bins
from tests.numerics.thon_samples import ABERRATION_MM, CONTRAST, PIXEL_ANG, VOLTAGE_KV, make_spectrum

RIGHT = Candidate(15150.0, 150.0, math.radians(20), 0.0, 8.0, 0.2)
WRONG = Candidate(21000.0, 900.0, math.radians(-50), 0.0, 9.0, 0.2)


def choose(spectrum: PowerSpectrum, *candidates: Candidate) -> Choice:
    bins = select_bins(spectrum.spectrum_yx, PIXEL_ANG, 1 / 30, 1 / 3.1)
    rings, count = bins.average_rings(bins.power)
    present, frequency = count > 0, torch.arange(bins.ring_count).double() * bins.ring_width_per_ang
    ends = float(bins.frequency_per_ang.min()) ** 0.5, float(bins.frequency_per_ang.max()) ** 0.5
    basis = spline_basis(frequency.sqrt(), *ends, BACKGROUND_SPLINES)
    background = fit_log_background(rings[present], count[present], basis[present])
    fit = RingFit(bins, Optics(VOLTAGE_KV, ABERRATION_MM, CONTRAST), 1 / 16, fit_phase=False)
    return choose_fit(fit, candidates, background, is_fast=False)


@pytest.mark.parametrize("candidates", [(WRONG, RIGHT), (replace(RIGHT, significance=9.5), WRONG)])
def test_the_likeliest_of_faint_candidates_is_taken_whichever_stood_out_most(candidates: tuple[Candidate, ...]) -> None:
    choice = choose(make_spectrum(15300, 15000, 20), *candidates)
    assert abs(choice.refinement.model.defocus_ang - 15150) < 40
    assert choice.significance == next(one.significance for one in candidates if one.defocus_ang == RIGHT.defocus_ang)
    assert choice.rival is None, "a wrong one is far less likely where rings are plain"


def test_a_candidate_that_stands_out_clearly_or_not_at_all_has_no_rival() -> None:
    spectrum = make_spectrum(15300, 15000, 20, ring_contrast=0.0)
    for significance in (5.0, 20.0):
        assert choose(spectrum, replace(WRONG, significance=significance), RIGHT).rival is None
    many = [replace(WRONG, defocus_ang=10_000.0 + 1500 * step, half_difference_ang=0.0) for step in range(12)]
    assert choose(spectrum, *many).rival is not None, "noise fits one as well as another"


def test_candidates_that_lead_to_the_same_fit_are_no_rivals() -> None:
    near = replace(RIGHT, defocus_ang=15165.0, half_difference_ang=0.0)
    assert choose(make_spectrum(15300, 15000, 20), RIGHT, near).rival is None


@pytest.mark.parametrize("is_fast", [False, True])
def test_a_fit_with_a_rival_is_not_trusted_and_names_it(*, is_fast: bool) -> None:
    """Rings just above noise, whose bins are no more independent than those of a real spectrum."""
    doubted = []
    for seed in range(8):
        optics = SimulatedOptics(1.0, 15000, 14700, 30)
        generator, motion = torch.Generator().manual_seed(seed), still((512, 512), 1)
        movie = simulate_movie((512, 512), 1, optics, 13.0, generator, motion=motion, damage=False)
        fit = fit_ctf(
            tile_power_spectrum(next(iter(movie)).float(), 1.0),
            voltage_kv=VOLTAGE_KV,
            spherical_aberration_mm=ABERRATION_MM,
            amplitude_contrast=optics.amplitude_contrast,
            options=CtfOptions(is_fast=is_fast),
        )
        assert isinstance(fit, CtfFit)
        named = re.search(r"another CTF nearly as well: defocus ([\d.]+) / ([\d.]+) µm", fit.reason)
        if named is not None:
            rival = [1e4 * float(number) for number in named.groups()]
            assert not fit.confident
            assert max(abs(rival[0] - fit.defocus_u_ang), abs(rival[1] - fit.defocus_v_ang)) > 50
            doubted.append(seed)
        elif fit.confident:
            assert abs(0.5 * (fit.defocus_u_ang + fit.defocus_v_ang) - 14850) < 5 * fit.uncertainty.defocus_ang
    assert doubted
