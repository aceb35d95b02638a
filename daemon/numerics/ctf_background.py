"""Smooth curves under and over Thon rings: spline bases in spatial frequency and fits of spectra to them."""

import numpy as np
import torch
from jaxtyping import Float
from scipy.interpolate import BSpline
from torch import Tensor

_DEGREE = 3


def spline_basis(position: Float[Tensor, "..."], low: float, high: float, count: int) -> Float[Tensor, "... count"]:
    """Evaluate `count` cubic B-splines with even knots over [low, high] (de Boor 1978, ch. IX).

    Positions outside the range take the values at its ends. Raises ValueError for fewer than four splines.
    """
    if count <= _DEGREE:
        raise ValueError(f"a cubic spline needs at least {_DEGREE + 1} coefficients, got {count}")
    inner = np.linspace(low, high, count - _DEGREE + 1)
    knots = np.concatenate([np.full(_DEGREE, low), inner, np.full(_DEGREE, high)])
    points = position.detach().cpu().double().clamp(low, high).numpy()
    dense = BSpline.design_matrix(points.ravel(), knots, _DEGREE).toarray()
    return torch.from_numpy(dense).reshape(*position.shape, count).to(position.device)


def fit_log_background(
    power: Float[Tensor, " ring"], weight: Float[Tensor, " ring"], basis: Float[Tensor, "ring spline"]
) -> Float[Tensor, " spline"]:
    """Coefficients of log background through positive ring averages; twice refitted without outlying rings.

    A ring more than four robust standard deviations off (an ice ring, a lattice) counts less, not not at all
    (Huber weights). Raises ValueError for powers that are not positive.
    """
    if not bool((power > 0).all()):
        raise ValueError("ring averages must be positive to have a logarithm")
    target = power.log()
    robust = torch.ones_like(weight)
    coefficients = solve_weighted(basis, target, weight)
    for _ in range(2):
        residual = target - basis @ coefficients
        spread = 1.4826 * residual.abs().median().clamp(min=1e-12)
        robust = (4 * spread / residual.abs().clamp(min=1e-12)).clamp(max=1.0)
        coefficients = solve_weighted(basis, target, weight * robust)
    return coefficients


def solve_weighted(
    basis: Float[Tensor, "row column"], target: Float[Tensor, " row"], weight: Float[Tensor, " row"]
) -> Float[Tensor, " column"]:
    """Weighted least squares, lightly damped so that columns without data come out as zero."""
    weighted = basis * weight[:, None]
    normal = weighted.T @ basis
    damping = 1e-9 * normal.diagonal().mean().clamp(min=1e-30)
    identity = torch.eye(normal.shape[0], dtype=normal.dtype, device=normal.device)
    solution: Tensor = torch.linalg.solve(normal + damping * identity, weighted.T @ target)
    return solution
