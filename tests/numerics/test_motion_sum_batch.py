"""Compiled kernels against their torch twin: the same sums to rounding, wherever frames went and whatever they hold."""

import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from daemon.numerics.detector import FrameCorrection
from daemon.numerics.kernels import has_kernels
from daemon.numerics.kernels.proof import prove_kernels
from daemon.numerics.motion_field import LocalField
from daemon.numerics.motion_plan import SumPlan
from daemon.numerics.motion_sum_batch import MARGIN_PX, Batch, CompiledBatch, Displacements, Share, Sums, TorchBatch
from daemon.numerics.warp import node_axis

REPOSITORY = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(
    not has_kernels(torch.device("cpu")), reason="numba is not installed: nothing to compare"
)


# The second part begins in the first share and ends in the second.
SHARES = (Share(0, (0, 1, 2, 3), (0, 0, 0, 1), frozenset({0, 1})), Share(4, (4,), (1,), frozenset()))


def _plan(shape_yx: tuple[int, int], dtype: torch.dtype, camera: str, seed: int) -> SumPlan:
    generator = torch.Generator().manual_seed(seed)
    movie_tyx = torch.poisson(torch.full((5, *shape_yx), 4.0), generator=generator).to(dtype)
    gain_yx, dark_yx = 1 + 0.2 * torch.rand(shape_yx, generator=generator), torch.rand(shape_yx, generator=generator)
    defects_yx = torch.rand(shape_yx, generator=generator) < 0.02
    correction = FrameCorrection(
        shape_yx,
        gain_yx if "gain" in camera else None,
        defects_yx if "defects" in camera else None,
        dark_yx if "dark" in camera else None,
    )
    return SumPlan(movie_tyx, correction, ((0, 1, 2), (3, 4)), None, want_even_odd=False, pixel_size_ang=1.0)


def _fields(shape_yx: tuple[int, int], groups_px: tuple[int, ...], drift_px: float, swing_px: float) -> Displacements:
    y_px = node_axis(shape_yx[0], 2 * MARGIN_PX + 2 * (2 * abs(drift_px) + swing_px))
    x_px = node_axis(shape_yx[1], MARGIN_PX)
    y, x = y_px[:, None], x_px[None, :]
    moved = [
        torch.stack(
            [
                frame * drift_px + 0.3 + swing_px * torch.sin(x / 90 + y / 80 + frame),
                -0.7 * frame * drift_px + swing_px * torch.cos(x / 70 - y / 100 + frame),
            ],
            dim=-1,
        )
        for frame in range(5)
    ]
    return Displacements(y_px, x_px, torch.stack(moved).float(), groups_px)


def _sum(make: type[TorchBatch] | type[CompiledBatch], plan: SumPlan, fields: Displacements) -> Tensor:
    wide_yx = (plan.shape_yx[0] + 2 * MARGIN_PX, plan.shape_yx[1] + 2 * MARGIN_PX)
    mixing_bt = torch.tensor([[0.5, 0.8, -0.3, 0.4, 1.0], [1.0, 0.0, 1.0, 0.0, 0.5]])
    unknown = [torch.full(wide_yx, math.nan) for _ in range(4)]
    sums = Sums(unknown[:2], unknown[2:], mixing_bt)
    for share in SHARES:
        batch: Batch = make(plan, fields, share, sums)
        for top in batch.tops:
            batch.add(top)
    return torch.stack([*sums.parts, *sums.combined])


def _compare(plan: SumPlan, fields: Displacements) -> None:
    expected, found = _sum(TorchBatch, plan, fields), _sum(CompiledBatch, plan, fields)
    assert float(expected.std()) > 0.5
    torch.testing.assert_close(found, expected, atol=1e-5 * float(expected.abs().max()), rtol=0)


@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(17, 300),
    width=st.integers(17, 300),
    groups_px=st.tuples(*[st.sampled_from([1, 2, 4, 8, 16])] * 5),
    drift_px=st.floats(-200, 200),
    swing_px=st.floats(0, 6),
    camera=st.sampled_from(["", "gain", "dark", "gain dark", "gain defects", "gain dark defects"]),
    seed=st.integers(0, 99),
)
def test_the_kernel_gives_what_its_twin_gives(
    height: int,
    width: int,
    groups_px: tuple[int, ...],
    drift_px: float,
    swing_px: float,
    camera: str,
    seed: int,
) -> None:
    shape_yx = (height, width)
    _compare(_plan(shape_yx, torch.uint8, camera, seed), _fields(shape_yx, groups_px, drift_px, swing_px))


@pytest.mark.parametrize("dtype", [torch.int16, torch.float32, torch.float64])
def test_raw_values_of_any_type(dtype: torch.dtype) -> None:
    """What kernels are not made for, float64 here, is brought to float32 on the way."""
    _compare(_plan((140, 333), dtype, "gain dark defects", 7), _fields((140, 333), (8, 8, 8, 8, 8), 3.3, 2.0))


@pytest.mark.parametrize("far_px", [3.0, 90.0, 5000.0])
def test_a_field_goes_nowhere_beyond_its_image(far_px: float) -> None:
    """A cubic that goes on without end would ask for pixels a million px away."""
    shape_yx, generator = (140, 171), torch.Generator().manual_seed(8)
    grid_tyx2 = torch.randn(5, 7, 5, 2, dtype=torch.float64, generator=generator)
    field = LocalField(grid_tyx2, shape_yx)
    near, far = (field.on_axes(1, torch.tensor([at]), torch.tensor([70.0])) for at in (200.0, 1e6))
    assert torch.equal(near, far)
    global_t2 = torch.tensor([[0.0, 0.0], [1.0, -1.0], [-0.5, 1.0], [0.2, 0.1], [0.7, -0.3]], dtype=torch.float64)
    global_t2 *= far_px
    fields = Displacements.of(field, global_t2, range(5))
    local_tyx2 = fields.displacement_tyx2 - global_t2.float()[:, None, None]
    assert float(local_tyx2.abs().max()) < 20 * float(grid_tyx2.abs().max())
    assert torch.equal(fields.displacement_tyx2[:, 0], fields.displacement_tyx2[:, 1])
    assert torch.equal(fields.displacement_tyx2[:, -1], fields.displacement_tyx2[:, -2])
    _compare(_plan(shape_yx, torch.uint8, "gain", 8), fields)


def test_frames_that_are_not_side_by_side_in_memory() -> None:
    plan = _plan((90, 280), torch.uint8, "gain defects", 3)
    movie_tyx = plan.movie_tyx
    assert isinstance(movie_tyx, Tensor)
    turned = SumPlan(
        movie_tyx.transpose(1, 2).contiguous().transpose(1, 2), plan.correction, plan.parts, None, False, 1.0
    )
    fields = _fields((90, 280), (16, 8, 4, 2, 1), -4.1, 1.0)
    assert torch.equal(_sum(CompiledBatch, turned, fields), _sum(CompiledBatch, plan, fields))


def test_the_order_of_bands_changes_nothing() -> None:
    plan, fields = _plan((200, 300), torch.uint8, "gain defects", 5), _fields((200, 300), (8, 8, 16, 4, 8), 2.2, 2.0)
    wide_yx = (200 + 2 * MARGIN_PX, 300 + 2 * MARGIN_PX)
    results = []
    for tops in ((0, 128), (128, 0)):
        sums = Sums([torch.zeros(wide_yx) for _ in range(2)], [], torch.zeros(0, 5))
        batch = CompiledBatch(plan, fields, SHARES[0], sums)
        for top in tops:
            batch.add(top)
        results.append(torch.stack(sums.parts))
    assert torch.equal(*results)


def test_kernels_are_proven_and_wrong_ones_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from daemon.numerics.kernels import warp_cpu

    prove_kernels(torch.device("cpu"))
    monkeypatch.setattr(warp_cpu, "add_band", lambda *arguments: None)
    with pytest.raises(ValueError, match="sum frames of equal pixels to unequal ones"):
        prove_kernels(torch.device("cpu"))


WITHOUT_NUMBA = """
import sys
sys.modules["numba"] = None
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "numba" else found(name, *rest)
import torch
from daemon.engine.compute import load_device
from daemon.numerics.motion import LocalField, MotionEstimate, correct_motion
load_device("cpu", 1)
local = LocalField(torch.zeros(2, 5, 5, 2, dtype=torch.float64), (64, 80))
estimate = MotionEstimate((64, 80), torch.zeros(2, 2).double(), local, None, 0.0, torch.zeros(2), 9.0)
result = correct_motion(torch.ones(2, 64, 80), estimate, pixel_size_ang=1.0)
assert float((result.unweighted_yx - 2).abs().max()) < 1e-3
assert "daemon.numerics.kernels.warp_cpu" not in sys.modules
"""


def test_without_numba_the_twin_runs() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_NUMBA], cwd=REPOSITORY, capture_output=True, text=True, timeout=200, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
