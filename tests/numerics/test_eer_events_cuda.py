"""The CUDA kernels' own source, compiled for the host where a compiler is at hand: thread by thread, the twins' counts.

What a card does with it is tested in tests/engine/test_real_gpu.py, where there is one.
"""

import ast
import ctypes
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from daemon.formats.eer_scheme import EER_65000, EER_65001, EerScheme, variable_scheme
from daemon.formats.eer_writer import encode_events
from daemon.numerics.kernels.eer_events import EventStreams, add_events, decode_events
from tests.numerics.test_eer_events import PIXELS, SHAPE_YX, draw, join, layout_of

KERNELS = Path(__file__).parents[2] / "daemon/numerics/kernels/eer_events_cuda.py"
COMPILER = shutil.which("g++") or shutil.which("clang++")

pytestmark = pytest.mark.skipif(COMPILER is None, reason="no C++ compiler on the PATH")

HOST = """
struct Index { int x, y; };
static thread_local Index threadIdx, blockIdx, blockDim, gridDim;
#define __global__
static void atomicAdd(unsigned int* at, unsigned int value) { *at += value; }
"""
LAUNCHERS = """
extern "C" void walk_all(int frames, const u32* words, const long long* first_byte, const long long* size_bytes,
    const long long* first_code, int run_bits, int x_bits, int y_bits, int skip_bits, long long pixels,
    int* code, long long* count, long long* end)
{
    for (int block = 0; block < frames; block++)
        for (int thread = 0; thread < 2; thread++) {
            blockIdx.x = block;
            threadIdx.x = thread;
            walk_events(words, first_byte, size_bytes, first_code, run_bits, x_bits, y_bits, skip_bits, pixels,
                code, count, end);
        }
}
extern "C" void count_all(int frames, const int* code, const long long* first_code, const long long* count,
    int first_frame, int width, int upsampling, int bytes_each, unsigned char* image)
{
    gridDim.x = 3; blockDim.x = 5;
    for (blockIdx.y = 0; blockIdx.y < frames; blockIdx.y++)
        for (blockIdx.x = 0; blockIdx.x < gridDim.x; blockIdx.x++)
            for (threadIdx.x = 0; threadIdx.x < blockDim.x; threadIdx.x++)
                count_events(code, first_code, count, first_frame, width, upsampling, bytes_each, image);
}
"""


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    source = next(
        ast.literal_eval(node.value)
        for node in ast.parse(KERNELS.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "_SOURCE"
    )
    folder = tmp_path_factory.mktemp("kernels")
    (folder / "kernels.cpp").write_text(HOST + source + LAUNCHERS, encoding="utf-8")
    assert COMPILER is not None
    command = [COMPILER, "-O1", "-Wall", "-Werror", "-fno-strict-aliasing", "-shared", "-fPIC", "kernels.cpp"]
    subprocess.run([*command, "-o", "kernels.so"], cwd=folder, check=True, capture_output=True)
    return ctypes.CDLL(str(folder / "kernels.so"))


def pointers(*tensors: torch.Tensor) -> list[ctypes.c_void_p]:
    return [ctypes.c_void_p(tensor.data_ptr()) for tensor in tensors]


Walk = Callable[[EventStreams, EerScheme, int], tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]]


@pytest.fixture
def walk(kernels: ctypes.CDLL) -> Walk:
    def run(streams: EventStreams, scheme: EerScheme, pixels: int) -> Any:
        layout = layout_of(scheme)
        most = torch.tensor([layout.most_events(size) for size in streams.size_bytes_f])
        first_f = torch.cumsum(most, 0) - most
        code_e = torch.zeros(int(most.sum()), dtype=torch.int32)
        count_f, end_f = torch.zeros_like(first_f), torch.zeros_like(first_f)
        first_byte_f, size_bytes_f = torch.tensor(streams.first_byte_f), torch.tensor(streams.size_bytes_f)
        kernels.walk_all(
            len(first_f),
            *pointers(streams.stream_b, first_byte_f, size_bytes_f, first_f),
            *(ctypes.c_int(bits) for bits in (scheme.run_bits, scheme.x_bits, scheme.y_bits, scheme.skip_bits)),
            ctypes.c_longlong(pixels),
            *pointers(code_e, count_f, end_f),
        )
        return code_e, first_f, count_f, end_f

    return run


def streams_of(scheme: EerScheme, rate: float) -> EventStreams:
    return join([encode_events(*draw(rate, seed), SHAPE_YX, scheme) for seed in range(5)])


SCHEMES = [EER_65000, EER_65001, variable_scheme(5, 1, 2), variable_scheme(14, 2, 1), variable_scheme(9, 2, 2)]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("rate", [0.0, 0.02, 0.4, 1.0])
def test_the_kernels_walk_and_count_as_the_twins(
    kernels: ctypes.CDLL, walk: Walk, scheme: EerScheme, rate: float
) -> None:
    streams = streams_of(scheme, rate)
    events = decode_events(streams, layout_of(scheme), PIXELS)
    code_e, first_f, count_f, end_f = walk(streams, scheme, PIXELS)
    assert end_f.tolist() == [PIXELS] * 5
    assert torch.equal(count_f, events.count_f)
    assert torch.equal(first_f, events.first_f)
    for first, count in zip(first_f.tolist(), count_f.tolist(), strict=True):
        assert torch.equal(code_e[first : first + count], events.code_e[first : first + count])
    for upsampling in (1, 2, 4):
        for dtype in (torch.uint8, torch.uint16):
            shape = (3, SHAPE_YX[0] * upsampling, SHAPE_YX[1] * upsampling)
            expected, counted = torch.zeros(shape, dtype=dtype), torch.zeros(shape, dtype=dtype)
            add_events(events, 1, 5, SHAPE_YX[1], upsampling, expected[1])
            kernels.count_all(
                4,
                *pointers(code_e, first_f, count_f),
                *(ctypes.c_int(value) for value in (1, SHAPE_YX[1], upsampling, counted.element_size())),
                *pointers(counted[1]),
            )
            assert torch.equal(counted, expected), "also the images beside it"


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_kernel_ends_damaged_streams_where_the_twin_does(walk: Walk, scheme: EerScheme) -> None:
    noise: npt.NDArray[np.uint8] = np.random.default_rng(1).integers(0, 256, 4000).astype(np.uint8)
    whole = streams_of(scheme, 0.1)
    cut = [bytes(noise[start : start + size]) for start, size in ((0, 50), (60, 333), (400, 1), (500, 0), (500, 2000))]
    cut.append(whole.stream_b.numpy()[: whole.size_bytes_f[0] // 3].tobytes())
    for frame in cut:
        streams = join([frame])
        end = int(walk(streams, scheme, PIXELS)[3][0])
        if end == PIXELS:
            decode_events(streams, layout_of(scheme), PIXELS)
        else:
            with pytest.raises(ValueError, match=f"lead to pixel {end} of {PIXELS}"):
                decode_events(streams, layout_of(scheme), PIXELS)
