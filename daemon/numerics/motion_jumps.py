"""Frames of which some show the specimen elsewhere: groups of frames that are alike among themselves, brought together.

Before and after a jump frames are aligned among themselves, and each half is a stranger to the other: half the others
lie where a frame does, so that no single frame shows it. The matrix of all pairs' likeness does. Where every frame
shows the same it is of rank one; each group apart adds an eigenvalue.
"""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Complex, Float
from scipy.linalg import qr
from torch import Tensor

from daemon.numerics.motion_coarse import CoarseMovie

_MOST_ROUNDS = 4
# A group of frames stands apart with so much of the largest eigenvalue, and so many times that of noise alone.
_LEAST_SHARE, _LEAST_NOISE = 0.15, 1.5
# And a frame by itself with so much of the others' likeness, if what it lacks is this many standard deviations.
_STRANGER_SHARE, _STRANGER_SIGMA = 0.5, 5.0
# One place is better than another where two sums are this much more alike there, by so many deviations of all places.
_CONTRAST, _PEAK_SIGMA = 1.3, 6.0
# What a few frames show otherwise doesn't spoil the sum.
_TOLERABLE_STRANGERS = 0.1

Settle = Callable[[Tensor], Tensor]


def bring_together(
    coarse: CoarseMovie, shift_t2: Float[Tensor, "t 2"], usable: list[int], settle: Settle
) -> tuple[Float[Tensor, "t 2"], Float[Tensor, "t 2"]]:
    """Shifts (x, y) px with which groups of frames that were strangers to one another lie together, of zero mean.

    Last by how much each group was moved for that, the same for all of its frames.

    settle: seeks each frame anew near where it lies, once groups were moved.
    """
    moved_t2, offset_t2 = shift_t2.clone(), torch.zeros_like(shift_t2)
    for _ in range(_MOST_ROUNDS):
        groups = alike(coarse.likeness(usable, moved_t2))
        if len(groups) == 1:
            break
        further_t2 = _gather(coarse, moved_t2, [[usable[f] for f in group] for group in groups])
        if not bool(further_t2.any()):
            break
        offset_t2 += further_t2
        moved_t2 = settle(moved_t2 + further_t2)
    moved_t2[usable] -= moved_t2[usable].mean(dim=0)
    return moved_t2, offset_t2


def doubt_strangers(coarse: CoarseMovie, shift_t2: Float[Tensor, "t 2"], usable: list[int]) -> str | None:
    """Why a path should not be believed that leaves frames lying where they are unlike the others; else None."""
    groups = alike(coarse.likeness(usable, shift_t2))
    strangers = sum(len(group) for group in groups[1:])
    if strangers <= _TOLERABLE_STRANGERS * len(usable):
        return None
    return f"{100 * strangers / len(usable):.0f} % of the frames don't show what the others show"


def alike(likeness_ff: Float[Tensor, "f f"]) -> list[list[int]]:
    """Frames in groups that are alike within, the largest group first; a stranger to all is a group by itself.

    likeness_ff: of every pair in standard deviations of noise, 0 on the diagonal. Groups are told apart by pivoted QR
    of the leading eigenvectors: A. Damle, V. Minden, L. Ying, Information and Inference 8, 181 (2019).
    """
    frames = len(likeness_ff)
    values, vectors = np.linalg.eigh(likeness_ff.numpy())
    # The largest eigenvalue of a symmetric matrix of unit noise is 2√f.
    leading = values > max(_LEAST_NOISE * 2 * np.sqrt(frames), _LEAST_SHARE * values[-1])
    if int(leading.sum()) < 2:
        return _by_themselves(likeness_ff)
    leading_fg = vectors[:, leading]
    pivots = qr(leading_fg.T, mode="r", pivoting=True)[1][: leading_fg.shape[1]]
    left, _, right = np.linalg.svd(leading_fg[pivots].T)
    owner = np.abs(leading_fg @ (left @ right)).argmax(axis=1)
    groups = [np.flatnonzero(owner == group).tolist() for group in range(leading_fg.shape[1])]
    return sorted((group for group in groups if group), key=len, reverse=True)


def _by_themselves(likeness_ff: Tensor) -> list[list[int]]:
    """All frames, but for those that are much less like all others than is usual."""
    frames = len(likeness_ff)
    to_others_f = likeness_ff.sum(dim=1)
    usual = float(to_others_f.median())
    is_strange_f = (to_others_f < _STRANGER_SHARE * usual) & (usual - to_others_f > _STRANGER_SIGMA * frames**0.5)
    strangers = [[frame] for frame in range(frames) if is_strange_f[frame]]
    return [[frame for frame in range(frames) if not is_strange_f[frame]], *strangers]


def _gather(coarse: CoarseMovie, shift_t2: Tensor, groups: list[list[int]]) -> Tensor:
    """By how much (t, 2) px each frame must be moved for its group to resemble the largest; 0 where it nowhere does."""
    offset_t2 = torch.zeros_like(shift_t2)
    total_yx = coarse.sum_aligned(groups[0], shift_t2)
    for group in groups[1:]:
        offset_2 = _offset(coarse, total_yx, coarse.sum_aligned(group, shift_t2))
        if offset_2 is not None:
            offset_t2[group] = offset_2
            total_yx = total_yx + coarse.sum_aligned(group, shift_t2 + offset_t2)
    return offset_t2


def _offset(coarse: CoarseMovie, one_yx: Complex[Tensor, "y x"], other_yx: Complex[Tensor, "y x"]) -> Tensor | None:
    """By how much (x, y) px the other lies from where it is much more like the one; None where it is nowhere."""
    map_yx = torch.fft.irfft2(other_yx * one_yx.conj() * coarse.damping_yx, s=coarse.shape_yx).cpu()
    y, x = (
        spacing * torch.fft.fftfreq(size, d=1 / size)
        for size, spacing in zip(coarse.shape_yx, coarse.spacing_yx_px, strict=True)
    )
    is_far_yx = (y.abs()[:, None] > coarse.farthest_yx_px[0]) | (x.abs()[None, :] > coarse.farthest_yx_px[1])
    reached_yx = map_yx.masked_fill(is_far_yx, -torch.inf)
    row, column = divmod(int(reached_yx.argmax()), coarse.shape_yx[1])
    height = float(map_yx[row, column])
    if height <= max(_PEAK_SIGMA * float(map_yx.std()), _CONTRAST * float(map_yx[0, 0])):
        return None
    return torch.tensor([float(x[column]), float(y[row])], dtype=torch.float64)
