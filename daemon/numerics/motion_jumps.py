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
# And a stretch of frames with less than this share of the usual likeness, if that is so many deviations too little.
_STRANGER_SHARE, _STRANGER_SIGMA = 0.5, 6.0
# One place is better than another where two sums are this much more alike there, by so many deviations of all places.
_CONTRAST, _PEAK_SIGMA = 1.3, 6.0
# Farther than this share of the image, frames share too little to be compared.
_FARTHEST = 1 / 3
# What a few frames show otherwise doesn't spoil the sum.
_TOLERABLE_STRANGERS = 0.1

Settle = Callable[[Tensor], Tensor]


def bring_together(
    coarse: CoarseMovie, shift_t2: Float[Tensor, "t 2"], usable: list[int], settle: Settle
) -> Float[Tensor, "t 2"]:
    """Shifts (x, y) px with which groups of frames that were strangers to one another lie together, of zero mean.

    settle: seeks each frame anew near where it lies, once groups were moved.
    """
    moved_t2 = shift_t2.clone()
    for _ in range(_MOST_ROUNDS):
        groups = alike(coarse.likeness(usable, moved_t2))
        if len(groups) == 1:
            break
        gathered_t2 = _gather(coarse, moved_t2, [[usable[f] for f in group] for group in groups])
        if torch.equal(gathered_t2, moved_t2):
            break
        moved_t2 = settle(gathered_t2)
    moved_t2[usable] -= moved_t2[usable].mean(dim=0)
    return moved_t2


def doubt_strangers(coarse: CoarseMovie, shift_t2: Float[Tensor, "t 2"], usable: list[int]) -> str | None:
    """Why a path should not be believed that leaves frames lying where they are unlike the others; else None."""
    groups = alike(coarse.likeness(usable, shift_t2))
    strangers = sum(len(group) for group in groups[1:])
    if strangers <= _TOLERABLE_STRANGERS * len(usable):
        return None
    return f"{100 * strangers / len(usable):.0f} % of the frames don't show what the others show"


def alike(likeness_ff: Float[Tensor, "f f"]) -> list[list[int]]:
    """Frames in groups that are alike within, the largest group first.

    likeness_ff: of every pair in standard deviations of noise, 0 on the diagonal. Groups of any pattern are told apart
    by pivoted QR of the leading eigenvectors: A. Damle, V. Minden, L. Ying, Information and Inference 8, 181 (2019).
    Small ones leave no eigenvalue beyond noise, but single frames and stretches of them are known by what they lack.
    """
    frames = len(likeness_ff)
    values, vectors = np.linalg.eigh(likeness_ff.numpy())
    # The largest eigenvalue of a symmetric matrix of unit noise is 2√f.
    leading = values > max(_LEAST_NOISE * 2 * np.sqrt(frames), _LEAST_SHARE * values[-1])
    if int(leading.sum()) < 2:
        return _stretches_apart(likeness_ff)
    leading_fg = vectors[:, leading]
    pivots = qr(leading_fg.T, mode="r", pivoting=True)[1][: leading_fg.shape[1]]
    left, _, right = np.linalg.svd(leading_fg[pivots].T)
    owner = np.abs(leading_fg @ (left @ right)).argmax(axis=1)
    groups = [np.flatnonzero(owner == group).tolist() for group in range(leading_fg.shape[1])]
    return sorted((group for group in groups if group), key=len, reverse=True)


def _stretches_apart(likeness_ff: Tensor) -> list[list[int]]:
    """All frames, but for stretches of them that are much less like all others than is usual, each a group."""
    rest, apart = list(range(len(likeness_ff))), []
    while len(rest) > 2:
        stretch = _strangest_stretch(likeness_ff[rest][:, rest])
        if stretch is None:
            break
        apart.append(rest[stretch])
        del rest[stretch]
    return [rest, *apart]


def _strangest_stretch(likeness_ff: Tensor) -> slice | None:
    """The stretch of frames, less than half of all, whose likeness to the others falls short by most deviations."""
    frames = len(likeness_ff)
    usual = float(likeness_ff.sum(dim=1).median()) / (frames - 1)
    before_ff = np.zeros((frames + 1, frames + 1))
    before_ff[1:, 1:] = likeness_ff.numpy().cumsum(axis=0).cumsum(axis=1)
    first, last = np.triu_indices(frames + 1, k=1)
    first, last = first[2 * (last - first) < frames], last[2 * (last - first) < frames]
    within = before_ff[last, last] - 2 * before_ff[first, last] + before_ff[first, first]
    to_others = before_ff[last, -1] - before_ff[first, -1] - within
    pairs = (last - first) * (frames - last + first)
    missing = np.where(to_others < _STRANGER_SHARE * usual * pairs, (usual * pairs - to_others) / np.sqrt(pairs), 0.0)
    strangest = int(missing.argmax())
    return slice(int(first[strangest]), int(last[strangest])) if missing[strangest] > _STRANGER_SIGMA else None


def _gather(coarse: CoarseMovie, shift_t2: Tensor, groups: list[list[int]]) -> Tensor:
    """Shifts (t, 2) px with each group moved to where it resembles the largest, if it does so anywhere.

    Frames of a group may be alike only in lying anyhow: they are also looked for as they were taken, and one by one.
    """
    gathered_t2 = shift_t2.clone()
    total_yx = coarse.sum_aligned(groups[0], shift_t2)
    left = list(reversed(groups[1:]))
    while left:
        group = left.pop()
        place_2 = _find_place(coarse, total_yx, group, shift_t2)
        if place_2 is not None:
            gathered_t2[group] = place_2
            total_yx = total_yx + coarse.sum_aligned(group, gathered_t2)
        elif len(group) > 1:
            left += [[frame] for frame in reversed(group)]
    return gathered_t2


def _find_place(
    coarse: CoarseMovie, total_yx: Complex[Tensor, "y x"], group: list[int], shift_t2: Tensor
) -> Tensor | None:
    """Shifts (f, 2) px where a group is much more like the total than where it lies; None where it is nowhere."""
    present, best, place_2 = None, 0.0, None
    for lying_t2 in (shift_t2, torch.zeros_like(shift_t2)):
        group_yx = coarse.sum_aligned(group, lying_t2)
        map_yx = torch.fft.irfft2(group_yx * total_yx.conj() * coarse.damping_yx, s=coarse.shape_yx).cpu()
        present = float(map_yx[0, 0]) if present is None else present
        height, offset_2 = _highest(coarse, map_yx)
        if height > max(best, _PEAK_SIGMA * float(map_yx.std()), _CONTRAST * present):
            best, place_2 = height, lying_t2[group] + offset_2
    return place_2


def _highest(coarse: CoarseMovie, map_yx: Tensor) -> tuple[float, Tensor]:
    """Highest value of a periodic map within reach, and its place (x, y) in px."""
    y, x = (
        spacing * torch.fft.fftfreq(size, d=1 / size)
        for size, spacing in zip(coarse.shape_yx, coarse.spacing_yx_px, strict=True)
    )
    is_far_yx = (y.abs()[:, None] > _FARTHEST * 2 * y.abs().max()) | (x.abs()[None, :] > _FARTHEST * 2 * x.abs().max())
    row, column = divmod(int(map_yx.masked_fill(is_far_yx, -torch.inf).argmax()), map_yx.shape[1])
    return float(map_yx[row, column]), torch.tensor([float(x[column]), float(y[row])], dtype=torch.float64)
