"""Fits of rings under an envelope against curves made of rings with a known offset and envelope."""

import numpy as np
import torch

from daemon.numerics.ctf_curves import CtfNumbers, PhaseLines
from daemon.numerics.ctf_envelope import EnvelopedRings, residual_variance
from daemon.numerics.thon import Optics, select_bins

PIXEL_ANG = 1.4
OFFSET_ANG = 40.0


def make_rings() -> EnvelopedRings:
    bins = select_bins(torch.ones(256, 256), PIXEL_ANG, 1 / 30, 1 / 3.2)
    lines = PhaseLines(bins, CtfNumbers(15000.0, 15000.0, 0.0, 0.0), Optics(300.0, 2.7, 0.1))
    return EnvelopedRings.along(lines, 6)


def test_rings_of_the_right_defocus_and_sign_fit_best() -> None:
    rings = make_rings()
    wave_r = -np.cos(rings.angle_r + rings.turn_r * OFFSET_ANG) * np.linspace(1.0, 0.2, len(rings.angle_r))
    prepared_r = rings.prepare(torch.from_numpy(wave_r))
    misfits = {offset: rings.fit(prepared_r, offset)[0] for offset in (-40.0, 0.0, 40.0, 80.0)}
    power = float(prepared_r @ prepared_r)
    assert min(misfits, key=lambda offset: misfits[offset]) == OFFSET_ANG
    assert misfits[OFFSET_ANG] < 0.01 * power
    # An envelope that is never negative can't make up for rings that are turned over.
    assert rings.fit(prepared_r, OFFSET_ANG, -np.ones_like(wave_r))[0] > 0.9 * power


def test_the_variance_of_independent_rings_is_told_from_correlated_ones() -> None:
    noise = np.random.default_rng(1).normal(scale=2.0, size=40_000)
    assert abs(residual_variance(noise) - 4.0) < 0.3
    # Four neighbours among sums of three add up with weights 1 2 3 3 2 1: their squares are 28, seven for each.
    smooth = np.convolve(noise, np.ones(3), "valid")
    assert abs(residual_variance(smooth) / 4.0 - 7.0) < 0.5
    smooth[::100] += 1e3
    assert abs(residual_variance(smooth) / 4.0 - 7.0) < 1.0
