"""Paths of whole frames: how smooth they are likely to be, and where they jump.

As in `motion_prior`, the likelihood is quadratic about its maximum, ℓ(d) ≈ bᵀd − ½ dᵀHd, and evidence chooses.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

AMPLITUDES_PX = tuple(0.02 * 2**step for step in range(10))
"""Strengths of motion, of paths and of fields, that are tried."""
# Longer drift is no surprise, but short of evidence this much is as far as it goes.
_WIDEST_DRIFT_PX = 20.0
# How far a single frame may jump, and how much more probable a jump must make the data: few frames do.
_JUMP_PX = 5.0
_JUMP_LOG_ODDS = math.log(1000.0)


@dataclass(frozen=True)
class PathPosterior:
    """A path (t, 2) px of zero mean, and the variance per axis in px² of each frame about the path's mean."""

    path_t2: Float[Tensor, "t 2"]
    variance_t: Float[Tensor, "t"]


@dataclass(frozen=True)
class Jumps:
    """Groups of frames that lie apart from a smooth path: by how much (t, 2) px, and each frame's share in groups.

    share_tj: rows sum to one; frames that were averaged may have a share in several groups.
    """

    offset_t2: Float[Tensor, "t 2"]
    share_tj: Float[Tensor, "t j"]

    @staticmethod
    def of(path_t2: Float[Tensor, "t 2"], apart_px: float) -> "Jumps | None":
        """Those of a path, whose groups (`group_near`) are moved so that what is left of it steps least.

        None where all are one group, or too many for frames to share a path: each where the last one isn't is fast.
        """
        group_t = group_near(path_t2, apart_px)
        groups = int(group_t.max()) + 1
        if groups == 1 or groups > (len(path_t2) + 1) // 2:
            return None
        share_tj = torch.nn.functional.one_hot(group_t, groups).double()
        offset_j2 = torch.linalg.lstsq(share_tj.diff(dim=0), path_t2.diff(dim=0), driver="gelsd").solution
        return Jumps(share_tj @ offset_j2, share_tj)

    def at_times(self, centre_g: Float[Tensor, "t"], time_t: Float[Tensor, "f"]) -> Float[Tensor, "f 2"]:
        """Offsets at other times, each that of the nearest frame: nothing lies between two places."""
        return self.offset_t2[(time_t[:, None] - centre_g).abs().argmin(dim=1)]

    def averaged(self, mean: Callable[[Tensor], Tensor]) -> "Jumps":
        """Of groups of frames, given how values (t, …) are averaged over them."""
        return Jumps(mean(self.offset_t2), mean(self.share_tj))


def group_near(path_t2: Float[Tensor, "t 2"], apart_px: float) -> Int[Tensor, "t"]:
    """Number of each frame's group: frames within apart_px of one another, or of others in between, are one."""
    near_tt = csr_array((torch.cdist(path_t2, path_t2) <= apart_px).numpy())
    return torch.from_numpy(connected_components(near_tt, directed=False)[1]).long()


def warped_time(exposure_t: Float[Tensor, "t"]) -> Float[Tensor, "t"]:
    """A clock that runs as beam-induced motion does, fast at first: log(1 + exposure / 4 e⁻/Å²)."""
    return torch.log1p(exposure_t.double() / 4.0)


def smooth_path(
    linear_t2: Float[Tensor, "t 2"],
    information_tt: Float[Tensor, "t t"],
    exposure_t: Float[Tensor, "t"],
    jumps: Jumps | None = None,
) -> PathPosterior:
    """Expected path when b = linear_t2 and H = information_tt, averaged over priors by their evidence.

    The prior is the sum of steady drift of unknown size, beam-induced motion (a cubic smoothing spline in warped
    time; Wahba 1978, J. R. Stat. Soc. B 40, 364) and vibration (Matérn 3/2 over an eighth of the movie), the strengths
    of the last two unknown. Averaging instead of choosing keeps short movies from trusting a lucky strength. A frame
    that no such path explains has jumped: its shift is its own, and its neighbours are not bent after it. The prior is
    of what is left of the path beside jumps that are known.
    """
    frames = information_tt.shape[0]
    if not float(information_tt.diagonal().sum()) > 0:
        return PathPosterior(torch.zeros_like(linear_t2), torch.zeros(frames, dtype=torch.float64))
    covariance_stt = _path_covariances(exposure_t)
    if jumps is not None:
        linear_t2 = linear_t2 - information_tt @ jumps.offset_t2
        covariance_stt = covariance_stt + _JUMP_PX**2 * jumps.share_tj @ jumps.share_tj.T
    for _ in range(1 + frames // 4):
        posterior, likeliest_tt = _average_paths(linear_t2, information_tt, covariance_stt)
        jumped = _jumped_frame(linear_t2, information_tt, likeliest_tt)
        if jumped is None:
            break
        covariance_stt[:, jumped, jumped] += _JUMP_PX**2
    if jumps is None:
        return posterior
    path_t2 = posterior.path_t2 + jumps.offset_t2
    return PathPosterior(path_t2 - path_t2.mean(dim=0), posterior.variance_t)


def _path_covariances(exposure_t: Tensor) -> Tensor:
    """Prior covariance of a path for every pair of strengths, (strengths, t, t)."""
    frames = exposure_t.shape[0]
    clock_t = warped_time(exposure_t)
    clock_t = (clock_t - clock_t[0]) / (clock_t[-1] - clock_t[0])
    frame_t = torch.linspace(0, 1, frames, dtype=torch.float64)
    drift_tt = _WIDEST_DRIFT_PX**2 * (clock_t[:, None] * clock_t + frame_t[:, None] * frame_t)
    bend_tt, shake_tt = _integrated_wiener(clock_t), _matern(frame_t, 1 / 8)
    strengths = torch.tensor((0.0, *AMPLITUDES_PX), dtype=torch.float64).square()
    pairs = torch.cartesian_prod(strengths, strengths)
    jitter = 1e-8 * torch.eye(frames, dtype=torch.float64)
    return drift_tt + jitter + pairs[:, 0, None, None] * bend_tt + pairs[:, 1, None, None] * shake_tt


def _average_paths(linear_t2: Tensor, information_tt: Tensor, covariance_stt: Tensor) -> tuple[PathPosterior, Tensor]:
    """Average over priors by their evidence, and the posterior covariance of the most probable one."""
    # With L Lᵀ = covariance the posterior is L (1 + Lᵀ H L)⁻¹ Lᵀ, and |1 + Lᵀ H L| its Occam factor.
    root_stt = torch.linalg.cholesky(covariance_stt)
    inner_stt = torch.eye(linear_t2.shape[0], dtype=torch.float64) + root_stt.mT @ information_tt @ root_stt
    factor_stt = torch.linalg.cholesky(inner_stt)
    half_stt = torch.linalg.solve_triangular(factor_stt, root_stt.mT, upper=False)
    posterior_stt = half_stt.mT @ half_stt
    path_st2 = posterior_stt @ linear_t2
    occam_s = factor_stt.diagonal(dim1=1, dim2=2).log().sum(dim=1)
    # Both axes share precision and prior: twice the Occam factor.
    log_evidence_s = 0.5 * (linear_t2 * path_st2).sum(dim=(1, 2)) - 2 * occam_s
    weight_s = torch.softmax(log_evidence_s, dim=0)
    path_st2 = path_st2 - path_st2.mean(dim=1, keepdim=True)
    path_t2 = torch.einsum("s,stc->tc", weight_s, path_st2)
    row_st = posterior_stt.mean(dim=2)
    centred_st = posterior_stt.diagonal(dim1=1, dim2=2) - 2 * row_st + row_st.mean(dim=1, keepdim=True)
    scatter_st = (path_st2 - path_t2).square().mean(dim=2)
    variance_t = ((centred_st + scatter_st) * weight_s[:, None]).sum(dim=0).clamp_min(0)
    return PathPosterior(path_t2, variance_t), posterior_stt[int(weight_s.argmax())]


def _jumped_frame(linear_t2: Tensor, information_tt: Tensor, posterior_tt: Tensor) -> int | None:
    """The frame whose shift is least explained by the prior, if a jump of its own is a thousand times more probable.

    More prior variance v for one frame adds ½ g² v / (1 + v a) − ½ log(1 + v a) an axis to the log evidence, g and a
    the gradient and the curvature −∂²/∂d² of what the data say against the present prior.
    """
    gradient_t2 = linear_t2 - information_tt @ posterior_tt @ linear_t2
    curvature_t = (information_tt - information_tt @ posterior_tt @ information_tt).diagonal().clamp_min(0)
    inflated_t = 1 + _JUMP_PX**2 * curvature_t
    gain_t = 0.5 * gradient_t2.square().sum(dim=1) * _JUMP_PX**2 / inflated_t - inflated_t.log()
    frame = int(gain_t.argmax())
    return frame if float(gain_t[frame]) > _JUMP_LOG_ODDS else None


def _integrated_wiener(clock_t: Tensor) -> Tensor:
    """Covariance of an integrated Wiener process from rest: m² (M − m/3) / 2, m and M the smaller and larger time."""
    smaller = torch.minimum(clock_t[:, None], clock_t[None, :])
    larger = torch.maximum(clock_t[:, None], clock_t[None, :])
    return smaller.square() * (larger - smaller / 3) / 2


def _matern(time_t: Tensor, length: float) -> Tensor:
    """Matérn covariance of smoothness 3/2."""
    distance = math.sqrt(3) * (time_t[:, None] - time_t[None, :]).abs() / length
    return (1 + distance) * torch.exp(-distance)
