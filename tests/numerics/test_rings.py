"""Averages over rings against rings that are counted one by one."""

import math

import pytest
import torch

from daemon.numerics.rings import average_rings, centred_radius


@pytest.mark.parametrize("box_px", [8, 9])
def test_averages_are_those_of_every_bin_by_itself(box_px: int) -> None:
    values_yx = torch.rand(box_px, box_px, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    rings: dict[int, list[float]] = {}
    for y in range(box_px):
        for x in range(box_px):
            radius = math.hypot(y - box_px // 2, x - box_px // 2)
            rings.setdefault(round(radius), []).append(float(values_yx[y, x]))
    mean, number = average_rings(values_yx, centred_radius(box_px, values_yx.device).round().long())
    assert number.tolist() == [len(rings[index]) for index in range(max(rings) + 1)]
    expected = [sum(rings[index]) / len(rings[index]) for index in range(max(rings) + 1)]
    torch.testing.assert_close(mean, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=0)


def test_a_function_of_radius_comes_back_and_rings_without_bins_are_zero() -> None:
    radius = centred_radius(64, torch.device("cpu"))
    ring = radius.round().long()
    within = ring < 30
    mean, number = average_rings(3.0 + ring[within].double(), ring[within], 40)
    assert mean[:30].tolist() == [3.0 + index for index in range(30)]
    assert not mean[30:].any()
    assert not number[30:].any()
    assert float(number.sum()) == float(within.sum())
