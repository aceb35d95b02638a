"""Sums over stacks of packed transforms on the CPU, in one pass over each row while it lies in a core's cache.

The twins are in motion_score: the same numbers to rounding. A coefficient is a 32-bit word, its real part the lower
bfloat16 and its imaginary part the upper one; phases come as separate real and imaginary parts, one factor an axis.
Sums along a row are float32, sums over rows float64, and their order is fixed.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from daemon.numerics.kernels.compiling import compiled, compiled_sums

Words = npt.NDArray[np.uint32]
Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Rings = npt.NDArray[np.int32]


@compiled
def _turn_row(
    words_x: Words, phase_xr: Floats, phase_xi: Floats, real: float, imag: float, re: Floats, im: Floats
) -> None:
    """One row of a frame moved back: each coefficient times its two phases."""
    for x in range(re.size):
        word = words_x[x]
        a, b = (
            np.uint32(word << np.uint32(16)).view(np.float32),
            np.uint32(word & np.uint32(0xFFFF0000)).view(np.float32),
        )
        c, d = real * phase_xr[x] - imag * phase_xi[x], real * phase_xi[x] + imag * phase_xr[x]
        re[x], im[x] = a * c - b * d, a * d + b * c


@compiled
def _add_turned_row(
    words_x: Words, phase_xr: Floats, phase_xi: Floats, real: float, imag: float, re: Floats, im: Floats
) -> None:
    for x in range(re.size):
        word = words_x[x]
        a, b = (
            np.uint32(word << np.uint32(16)).view(np.float32),
            np.uint32(word & np.uint32(0xFFFF0000)).view(np.float32),
        )
        c, d = real * phase_xr[x] - imag * phase_xi[x], real * phase_xi[x] + imag * phase_xr[x]
        re[x] += a * c - b * d
        im[x] += a * d + b * c


@compiled
def sum_aligned(
    words_tyx: Words, phase_ty2: Floats, phase_t2x: Floats, first: int, last: int, total_yx2: Floats
) -> None:
    """Rows first to last of the sum of all frames, each moved back by its phases."""
    re, im = np.empty(words_tyx.shape[2], np.float32), np.empty(words_tyx.shape[2], np.float32)
    for y in range(first, last):
        re[:], im[:] = 0, 0
        for t in range(words_tyx.shape[0]):
            _add_turned_row(
                words_tyx[t, y], phase_t2x[t, 0], phase_t2x[t, 1], phase_ty2[t, y, 0], phase_ty2[t, y, 1], re, im
            )
        total_x2 = total_yx2[y]
        for x in range(re.size):
            total_x2[x, 0], total_x2[x, 1] = re[x], im[x]


@compiled_sums
def _project_row(
    words_x: Words, phase_xr: Floats, phase_xi: Floats, kx: Floats, re: Floats, im: Floats
) -> tuple[Any, Any, Any, Any]:
    """Sums over one row of frame · reference · phase · kx, and of the same without kx; real and imaginary parts."""
    with_r, with_i, sum_r, sum_i = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
    for x in range(re.size):
        word = words_x[x]
        a, b = (
            np.uint32(word << np.uint32(16)).view(np.float32),
            np.uint32(word & np.uint32(0xFFFF0000)).view(np.float32),
        )
        c, d = re[x] * phase_xr[x] - im[x] * phase_xi[x], re[x] * phase_xi[x] + im[x] * phase_xr[x]
        real, imag = a * c - b * d, a * d + b * c
        sum_r += real
        sum_i += imag
        with_r += kx[x] * real
        with_i += kx[x] * imag
    return with_r, with_i, sum_r, sum_i


@compiled
def project(
    words_tyx: Words,
    phase_ty2: Floats,
    phase_t2x: Floats,
    ky: Floats,
    kx: Floats,
    reference_yx2: Floats,
    first: int,
    last: int,
    gradient_t2: Doubles,
) -> None:
    """Add Im Σ k · reference · frame, moved back by its phases, over rows first to last, to (t, (x, y))."""
    re, im = np.empty(words_tyx.shape[2], np.float32), np.empty(words_tyx.shape[2], np.float32)
    for y in range(first, last):
        reference_x2 = reference_yx2[y]
        for x in range(re.size):
            re[x], im[x] = reference_x2[x, 0], reference_x2[x, 1]
        for t in range(words_tyx.shape[0]):
            with_r, with_i, sum_r, sum_i = _project_row(words_tyx[t, y], phase_t2x[t, 0], phase_t2x[t, 1], kx, re, im)
            real, imag = phase_ty2[t, y, 0], phase_ty2[t, y, 1]
            gradient_t2[t, 0] += np.float64(real * with_i + imag * with_r)
            gradient_t2[t, 1] += np.float64(ky[y] * (real * sum_i + imag * sum_r))


@compiled
def sum_power(words_tyx: Words, weight_st: Floats, first: int, last: int, power_syx: Floats) -> None:
    """Rows first to last of weighted sums of all frames' powers, several sets of weights at once."""
    power_x = np.empty(words_tyx.shape[2], np.float32)
    for y in range(first, last):
        power_syx[:, y] = 0
        for t in range(words_tyx.shape[0]):
            words_x = words_tyx[t, y]
            for x in range(power_x.size):
                word = words_x[x]
                a = np.uint32(word << np.uint32(16)).view(np.float32)
                b = np.uint32(word & np.uint32(0xFFFF0000)).view(np.float32)
                power_x[x] = a * a + b * b
            for s in range(weight_st.shape[0]):
                total_x, weight = power_syx[s, y], weight_st[s, t]
                for x in range(power_x.size):
                    total_x[x] += weight * power_x[x]


@compiled
def sum_rings(values_yx: Floats, ring_yx: Rings, total_a: Doubles) -> None:
    """Add each value to the total of its ring."""
    for y in range(values_yx.shape[0]):
        values_x, ring_x = values_yx[y], ring_yx[y]
        for x in range(values_x.size):
            total_a[ring_x[x]] += values_x[x]


@compiled
def ring_powers(words_tyx: Words, ring_yx: Rings, power_ta: Doubles) -> None:
    """Add the power of each frame to the totals of its rings."""
    power_x = np.empty(words_tyx.shape[2], np.float32)
    for t in range(words_tyx.shape[0]):
        power_a = power_ta[t]
        for y in range(words_tyx.shape[1]):
            words_x, ring_x = words_tyx[t, y], ring_yx[y]
            for x in range(power_x.size):
                word = words_x[x]
                a = np.uint32(word << np.uint32(16)).view(np.float32)
                b = np.uint32(word & np.uint32(0xFFFF0000)).view(np.float32)
                power_x[x] = a * a + b * b
            for x in range(power_x.size):
                power_a[ring_x[x]] += power_x[x]


@compiled_sums
def expand_stack(
    words_tyx: Words,
    phase_ty2: Floats,
    phase_t2x: Floats,
    ky: Floats,
    kx: Floats,
    ring_yx: Rings,
    weight_a: Floats,
    first: int,
    last: int,
    coherent_a: Doubles,
    gradient_t2: Doubles,
) -> None:
    """Ring sums of the aligned sum's power, and Im Σ k · weight · sum* · frame for every frame, in a single pass.

    Rows first to last are added to what is there. What lies in no ring has the last one, whose weight is zero. Without
    rows in gradient_t2 there are ring sums only.
    """
    frames, columns = words_tyx.shape[0], words_tyx.shape[2]
    turned_r, turned_i = np.empty((frames, columns), np.float32), np.empty((frames, columns), np.float32)
    re, im = np.empty(columns, np.float32), np.empty(columns, np.float32)
    for y in range(first, last):
        re[:], im[:] = 0, 0
        for t in range(frames):
            turned_xr, turned_xi = turned_r[t], turned_i[t]
            _turn_row(
                words_tyx[t, y],
                phase_t2x[t, 0],
                phase_t2x[t, 1],
                phase_ty2[t, y, 0],
                phase_ty2[t, y, 1],
                turned_xr,
                turned_xi,
            )
            for x in range(columns):
                re[x] += turned_xr[x]
                im[x] += turned_xi[x]
        ring_x = ring_yx[y]
        for x in range(columns):
            coherent_a[ring_x[x]] += re[x] * re[x] + im[x] * im[x]
        if gradient_t2.shape[0] == 0:
            continue
        for x in range(columns):
            weight = weight_a[ring_x[x]]
            re[x] *= weight
            im[x] *= weight
        for t in range(frames):
            turned_xr, turned_xi = turned_r[t], turned_i[t]
            along_x, along_y = np.float32(0), np.float32(0)
            for x in range(columns):
                imag = re[x] * turned_xi[x] - im[x] * turned_xr[x]
                along_y += imag
                along_x += kx[x] * imag
            gradient_t2[t, 0] += np.float64(along_x)
            gradient_t2[t, 1] += np.float64(ky[y] * along_y)


@compiled
def expand_stacks(
    words_ptyx: Words,
    phase_pty2: Floats,
    phase_pt2x: Floats,
    ky: Floats,
    kx: Floats,
    ring_yx: Rings,
    weight_pa: Floats,
    first: int,
    last: int,
    coherent_pa: Doubles,
    gradient_pt2: Doubles,
) -> None:
    """Stacks first to last of many, each by itself."""
    for p in range(first, last):
        expand_stack(
            words_ptyx[p],
            phase_pty2[p],
            phase_pt2x[p],
            ky,
            kx,
            ring_yx,
            weight_pa[p],
            0,
            words_ptyx.shape[2],
            coherent_pa[p],
            gradient_pt2[p],
        )


@compiled
def correlate_with_others(
    words_yx: Words, phase_y2: Floats, phase_2x: Floats, total_yx2: Floats, damping_yx: Floats, product_yx2: Floats
) -> None:
    """frame · (total − frame moved back)* · damping."""
    re, im = np.empty(words_yx.shape[1], np.float32), np.empty(words_yx.shape[1], np.float32)
    for y in range(words_yx.shape[0]):
        words_x, total_x2, damping_x, product_x2 = words_yx[y], total_yx2[y], damping_yx[y], product_yx2[y]
        _turn_row(words_x, phase_2x[0], phase_2x[1], phase_y2[y, 0], phase_y2[y, 1], re, im)
        for x in range(re.size):
            word = words_x[x]
            a = np.uint32(word << np.uint32(16)).view(np.float32)
            b = np.uint32(word & np.uint32(0xFFFF0000)).view(np.float32)
            c, d = damping_x[x] * (total_x2[x, 0] - re[x]), damping_x[x] * (total_x2[x, 1] - im[x])
            product_x2[x, 0], product_x2[x, 1] = a * c + b * d, b * c - a * d
