"""The exposure filter against published figures."""

import math

import pytest
import torch

from daemon.numerics.dose import (
    ExposureWeights,
    critical_exposure_e_per_ang2,
    critical_exposure_scale,
    mid_frame_exposures,
)


def test_critical_exposure_at_300_kv() -> None:
    frequency = torch.tensor([1 / 20, 1 / 10, 1 / 4, 1 / 3], dtype=torch.float64)
    # 0.245 k^-1.665 + 2.81, worked out by hand.
    expected = torch.tensor([38.72, 14.14, 5.274, 4.336], dtype=torch.float64)
    torch.testing.assert_close(critical_exposure_e_per_ang2(frequency), expected, atol=0.02, rtol=0)


def test_lower_voltages_damage_faster() -> None:
    assert critical_exposure_scale(300) == 1
    assert critical_exposure_scale(200) == 0.8
    scales = [critical_exposure_scale(voltage) for voltage in (80, 100, 120, 160, 200, 250, 300, 350)]
    assert scales == sorted(scales)
    # The law behind the values at 100 and 120 kV.
    assert critical_exposure_scale(100) == pytest.approx(0.3005 / 0.6030, abs=0.01)


@pytest.mark.parametrize("voltage_kv", [0.0, 20.0, 1000.0, float("nan")])
def test_unknown_voltages_are_refused(voltage_kv: float) -> None:
    with pytest.raises(ValueError, match="kV"):
        critical_exposure_scale(voltage_kv)


def test_frames_are_weighted_by_the_middle_of_their_exposure() -> None:
    assert mid_frame_exposures(3, 2.0, pre_exposure_e_per_ang2=10.0) == [11.0, 13.0, 15.0]
    with pytest.raises(ValueError, match="dose_per_frame"):
        mid_frame_exposures(3, 0.0)
    with pytest.raises(ValueError, match="pre_exposure"):
        mid_frame_exposures(3, 1.0, pre_exposure_e_per_ang2=-1.0)


@pytest.mark.parametrize(("frames", "dose", "voltage_kv"), [(40, 1.45, 300.0), (50, 2.0, 200.0), (8, 5.0, 300.0)])
def test_few_combinations_of_frames_make_all_weights(frames: int, dose: float, voltage_kv: float) -> None:
    weights = ExposureWeights.of(mid_frame_exposures(frames, dose), 0.83, voltage_kv)
    basis_tb, filter_br = weights.basis()
    assert torch.equal(basis_tb[:, 0], torch.ones(frames))
    assert basis_tb.shape[1] <= 6
    missed_r = (basis_tb @ filter_br - weights.table_tr).norm(dim=0) / math.sqrt(frames)
    assert float(missed_r.max()) < 0.01
    # What the specimen is seen with: a hundredth of the weights' length costs its square.
    seen_r = (basis_tb @ filter_br * weights.table_tr).sum(dim=0) / (basis_tb @ filter_br).norm(dim=0)
    assert float((seen_r / weights.table_tr.norm(dim=0)).min()) > 1 - 1e-4
