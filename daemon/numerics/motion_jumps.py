"""Frames of which some show the specimen elsewhere: groups of frames that are alike among themselves, brought together.

Before and after a jump frames are aligned among themselves, and each half is a stranger to the other: half the others
lie where a frame does, so that no single frame shows it. The matrix of all pairs' likeness does. Where every frame
shows the same it is of rank one; each group apart adds an eigenvalue.
"""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Complex, Float
from scipy.linalg import qr
from torch import Tensor

from daemon.numerics.motion_coarse import CoarseMovie, CorrelationMap
from daemon.numerics.motion_path import group_near

_MOST_ROUNDS = 4
# A group of frames stands apart with so much of the largest eigenvalue, and as much more than noise alone has: four
# deviations of its largest one (Tracy & Widom 1994, Commun. Math. Phys. 159, 151).
_LEAST_SHARE, _BEYOND_NOISE = 0.15, 2.5
# And a stretch of frames with less than this share of the expected likeness, if that is so many deviations too little.
_STRANGER_SHARE, _STRANGER_SIGMA = 0.5, 6.0
# One place is better than another where two sums are this much more alike there, by so many deviations of all places.
_CONTRAST, _PEAK_SIGMA = 1.3, 6.0
# Places where so many frames lie are places for a frame that was lost; so many nearest in time say where exactly.
_LEAST_PLACE_SHARE, _NEAREST = 0.1, 3
# A frame goes from one such place to another for one deviation; to lie by itself must be a thousand times more probable
# than the best of them, for each place that it might lie at.
_BETTER_SIGMA, _ALONE_LOG_ODDS = 1.0, math.log(1000.0)
# What a few frames show otherwise doesn't spoil the sum: they are left out.
_TOLERABLE_STRANGERS = 0.1

Settle = Callable[[Tensor], Tensor]
Values = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]


def bring_together(
    coarse: CoarseMovie, shift_t2: Float[Tensor, "t 2"], usable: list[int], settle: Settle
) -> tuple[Float[Tensor, "t 2"], list[int]]:
    """Shifts (x, y) px with which groups of frames that were strangers to one another lie together, of zero mean.

    settle: seeks each frame anew near where it lies, once groups were moved. Last frames that show nothing of what the
    others show, if they are few: their sum is better without them.
    """
    moved_t2, is_one_group = shift_t2.clone(), False
    for _ in range(_MOST_ROUNDS):
        groups = _groups(coarse, moved_t2, usable)
        if is_one_group := len(groups) == 1:
            break
        gathered_t2 = _gather(coarse, moved_t2, groups)
        if torch.equal(gathered_t2, moved_t2):
            break
        moved_t2 = settle(gathered_t2)
    fetched_t2 = _fetch_strays(coarse, moved_t2, usable)
    is_settled = is_one_group and torch.equal(fetched_t2, moved_t2)
    strangers = [] if is_settled else _strangers(coarse, fetched_t2, usable)
    fetched_t2[usable] -= fetched_t2[usable].mean(dim=0)
    return fetched_t2, strangers if len(strangers) <= _TOLERABLE_STRANGERS * len(usable) else []


def doubt_strangers(coarse: CoarseMovie, shift_t2: Float[Tensor, "t 2"], usable: list[int]) -> str | None:
    """Why a path should not be believed that leaves frames lying where they are unlike the others; else None."""
    strangers = _strangers(coarse, shift_t2, usable)
    if len(strangers) <= _TOLERABLE_STRANGERS * len(usable):
        return None
    return f"{100 * len(strangers) / len(usable):.0f} % of the frames don't show what the others show"


def alike(likeness_ff: Float[Tensor, "f f"], amplitude_f: Float[Tensor, "f"]) -> list[list[int]]:
    """Frames in groups that are alike within, the largest group first.

    likeness_ff: of every pair in standard deviations of noise, 0 on the diagonal, expected to be as the product of
    their amplitudes. Groups of any pattern are told apart by pivoted QR of the leading eigenvectors: A. Damle,
    V. Minden, L. Ying, Information and Inference 8, 181 (2019). Small ones leave no eigenvalue beyond noise, but single
    frames and stretches of them are known by what they lack.
    """
    values, vectors = np.linalg.eigh(likeness_ff.numpy())
    leading = values > max(_least_eigenvalue(len(values)), _LEAST_SHARE * values[-1])
    if int(leading.sum()) < 2:
        return _stretches_apart(likeness_ff, amplitude_f)
    leading_fg = vectors[:, leading]
    pivots = qr(leading_fg.T, mode="r", pivoting=True)[1][: leading_fg.shape[1]]
    left, _, right = np.linalg.svd(leading_fg[pivots].T)
    owner = np.abs(leading_fg @ (left @ right)).argmax(axis=1)
    groups = [np.flatnonzero(owner == group).tolist() for group in range(leading_fg.shape[1])]
    return sorted((group for group in groups if group), key=len, reverse=True)


def _least_eigenvalue(frames: int) -> float:
    """What noise does not reach: the largest eigenvalue of a symmetric matrix of unit noise is 2√f."""
    return 2 * math.sqrt(frames) + _BEYOND_NOISE


def _groups(coarse: CoarseMovie, shift_t2: Tensor, usable: list[int]) -> list[list[int]]:
    """Frames in groups that are alike within; each by itself where none is like any other."""
    likeness_ff = coarse.likeness(usable, shift_t2)
    if float(torch.linalg.eigvalsh(likeness_ff)[-1]) < _least_eigenvalue(len(usable)):
        return [[frame] for frame in usable]
    return [[usable[each] for each in group] for group in alike(likeness_ff, coarse.amplitude_t[usable])]


def _strangers(coarse: CoarseMovie, shift_t2: Tensor, usable: list[int]) -> list[int]:
    groups = alike(coarse.likeness(usable, shift_t2), coarse.amplitude_t[usable])
    return sorted(usable[each] for group in groups[1:] for each in group)


def _stretches_apart(likeness_ff: Tensor, amplitude_f: Tensor) -> list[list[int]]:
    """All frames, but for stretches of them that are much less like all others than expected, each a group."""
    rest, apart = list(range(len(likeness_ff))), []
    while len(rest) > 2:
        stretch = _strangest_stretch(likeness_ff[rest][:, rest], amplitude_f[rest])
        if stretch is None:
            break
        apart.append(rest[stretch])
        del rest[stretch]
    return [rest, *apart]


def _strangest_stretch(likeness_ff: Tensor, amplitude_f: Tensor) -> slice | None:
    """The stretch of frames, half of all at most, whose likeness to the others falls short by most deviations.

    Pairs count by what is expected of them, the product of their amplitudes.
    """
    frames, expected_ff = len(likeness_ff), torch.outer(amplitude_f, amplitude_f).fill_diagonal_(0.0)
    found_ff, weight_ff = (likeness_ff * expected_ff).numpy(), expected_ff.square().numpy()
    usual = float(np.median(found_ff.sum(axis=1) / weight_ff.sum(axis=1)))
    first, last = np.triu_indices(frames + 1, k=1)
    is_short = 2 * (last - first) <= frames
    first, last = first[is_short], last[is_short]
    found, weight = (_between(each_ff, first, last) for each_ff in (found_ff, weight_ff))
    expected = usual * weight
    missing = np.where(found < _STRANGER_SHARE * expected, (expected - found) / np.sqrt(weight), 0.0)
    strangest = int(missing.argmax())
    return slice(int(first[strangest]), int(last[strangest])) if missing[strangest] > _STRANGER_SIGMA else None


def _between(values_ff: Values, first: Indices, last: Indices) -> Values:
    """Sums over the pairs of one frame in a stretch first … last − 1 with one outside of it."""
    before = np.zeros((len(values_ff) + 1, len(values_ff) + 1))
    before[1:, 1:] = values_ff.cumsum(axis=0).cumsum(axis=1)
    within = before[last, last] - 2 * before[first, last] + before[first, first]
    between: Values = before[last, -1] - before[first, -1] - within
    return between


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
) -> Float[Tensor, "f 2"] | None:
    """Shifts (f, 2) px where a group is much more like the total than where it lies; None where it is nowhere."""
    present, best, place_2 = None, 0.0, None
    for lying_t2 in (shift_t2, torch.zeros_like(shift_t2)):
        places = CorrelationMap(coarse, coarse.sum_aligned(group, lying_t2) * total_yx.conj())
        present = places.at(torch.zeros(2)) if present is None else present
        height, offset_2 = places.highest()
        if height > max(best, _PEAK_SIGMA * places.sigma, _CONTRAST * present):
            best, place_2 = height, lying_t2[group] + offset_2
    return place_2


def _fetch_strays(coarse: CoarseMovie, shift_t2: Tensor, usable: list[int]) -> Tensor:
    """Put frames that lie at the wrong one of several places, or at none, to the place that they are most alike at.

    A group moves as a whole, with those frames that were taken for some of it, and single faint frames are found
    anywhere; of few places it is easily told which one is right.
    """
    fetched_t2, path_f2 = shift_t2.clone(), shift_t2[usable]
    group_f = group_near(path_f2, coarse.largest_jump_px)
    members = [torch.nonzero(group_f == group).flatten() for group in range(int(group_f.max()) + 1)]
    places = [each_f for each_f in members if len(each_f) >= max(2, _LEAST_PLACE_SHARE * len(usable))]
    if len(members) == 1 or not places:
        return fetched_t2
    everyone_yx = coarse.sum_aligned(usable, shift_t2)
    for index, frame in enumerate(usable):
        own_yx = coarse.sum_aligned([frame], torch.zeros_like(shift_t2))
        others_yx = everyone_yx - coarse.sum_aligned([frame], shift_t2)
        likeness = CorrelationMap(coarse, own_yx * others_yx.conj())
        candidates_p2 = torch.stack([_near_in_time(path_f2, each_f, index) for each_f in places])
        sigma_p = [likeness.highest_near(place_2)[0] / likeness.sigma for place_2 in candidates_p2]
        best = max(range(len(places)), key=sigma_p.__getitem__)
        present = likeness.highest_near(path_f2[index])[0] / likeness.sigma
        is_placed = any(bool((each_f == index).any()) for each_f in places)
        needed = 2 * (_ALONE_LOG_ODDS + math.log(likeness.count))
        is_better = sigma_p[best] > present + _BETTER_SIGMA
        is_unlikely = not is_placed and present * abs(present) - max(0.0, sigma_p[best]) ** 2 < needed
        if is_better or is_unlikely:
            fetched_t2[frame] = candidates_p2[best]
    return fetched_t2


def _near_in_time(path_f2: Tensor, members_f: Tensor, index: int) -> Tensor:
    """Where those frames of a place lie that are nearest in time to a frame, itself aside."""
    others_f = members_f[members_f != index]
    nearest_f = others_f[(others_f - index).abs().argsort(stable=True)[:_NEAREST]]
    return path_f2[nearest_f].mean(dim=0)
