"""What computes is loaded with the first movie, never before; and whether it can be is known from the start."""

import ctypes
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest
import structlog.testing
import torch

from daemon.engine.compute import ComputeThread, DeviceFacts, may_have_gpu
from daemon.engine.compute_check import check_compute
from daemon.engine.failures import describe_failure, is_of_the_machine, is_out_of_device_memory
from daemon.engine.kernel_store import KernelStore
from daemon.errors import ComputeUnavailable, ConfigurationInvalid
from tests.engine.workshop import Workshop

REPOSITORY = Path(__file__).parents[2]
LIMIT_S = 120.0

pytestmark = pytest.mark.anyio

LIGHT_START = """
import sys
import daemon.app.daemon, daemon.app.service
assert "torch" not in sys.modules, "by importing the daemon"
from daemon.engine.compute import ComputeThread
compute = ComputeThread("cpu", 3)
assert compute.facts.name == "cpu" and compute.loaded is None
assert "torch" not in sys.modules, "by making the thread"
assert compute.submit(lambda: sys.modules["torch"].get_num_threads(), priority=1).result(100) == 3
assert compute.loaded.threads == 3
compute.close()
"""


def run_python(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )


def break_torch(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a library stand before the real one that cannot be loaded."""
    (folder / "torch.py").write_text('raise ImportError("libcudart.so.12: cannot open shared object file")\n')
    monkeypatch.syspath_prepend(str(folder))


def test_a_daemon_loads_what_computes_when_something_is_computed() -> None:
    done = run_python(LIGHT_START)
    assert (done.returncode, done.stderr) == (0, "")


async def test_a_visit_needs_the_device_and_gets_it(build: Callable[..., Workshop]) -> None:
    shop = build()
    before = shop.engine.compute.loaded
    await shop.open_session()
    path = shop.write_movie("a")
    await shop.prove(path)
    await shop.process()
    assert before is None
    assert shop.engine.compute.loaded is not None
    assert await shop.engine.compute.memory_bytes() is None


async def test_the_check_tells_what_there_is() -> None:
    assert await check_compute("cpu") == DeviceFacts("cpu", "cpu")


async def test_the_check_tells_a_device_that_is_not_there() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(ConfigurationInvalid, match=r"compute\.device: .*'cuda:7': no usable CUDA device"):
        await check_compute("cuda:7")
    compute = ComputeThread("cuda:7", 1)
    with pytest.raises(ConfigurationInvalid, match="no usable CUDA device"):
        await compute.memory_bytes()
    with pytest.raises(ConfigurationInvalid, match="no usable CUDA device"):
        compute.submit(lambda: None, priority=1).result(LIMIT_S)
    assert compute.is_alive
    compute.close()


async def test_the_check_tells_a_library_that_cannot_be_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    break_torch(tmp_path, monkeypatch)
    with pytest.raises(ComputeUnavailable, match=r"ImportError: libcudart\.so\.12: cannot open.*Install Elcano again"):
        await check_compute("cpu")


async def test_the_check_tells_a_process_that_dies_or_does_not_start(tmp_path: Path) -> None:
    dies = tmp_path / "python"
    dies.write_text("#!/bin/sh\necho something else >&2\nkill -ILL $$\n")
    dies.chmod(0o755)
    with pytest.raises(ComputeUnavailable, match=r"ended by SIGILL \(Illegal instruction\), after 'something else'\."):
        await check_compute("cpu", python=str(dies))
    dies.write_text("#!/bin/sh\nkill -ILL $$\n")
    with pytest.raises(ComputeUnavailable, match=r"loaded: loading it was ended by SIGILL \(Illegal instruction\)\."):
        await check_compute("cpu", python=str(dies))
    dies.write_text("#!/bin/sh\necho no such module >&2\nexit 3\n")
    with pytest.raises(ComputeUnavailable, match="loaded: no such module"):
        await check_compute("cpu", python=str(dies))
    dies.write_text("#!/bin/sh\nexit 3\n")
    with pytest.raises(ComputeUnavailable, match="loaded: exit code 3"):
        await check_compute("cpu", python=str(dies))
    with pytest.raises(ComputeUnavailable, match="No such file or directory"):
        await check_compute("cpu", python=str(tmp_path / "absent"))
    with pytest.raises(ComputeUnavailable, match="longer than 0 s"):
        await check_compute("cpu", limit_s=0)


def test_what_cannot_be_loaded_for_a_movie_is_no_fault_of_the_movie() -> None:
    assert is_of_the_machine(ComputeUnavailable("no torch"))
    assert is_of_the_machine(ConfigurationInvalid("configuration", []))
    assert not is_of_the_machine(ValueError("a movie"))


def test_where_the_kernel_shows_no_gpu_auto_is_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not may_have_gpu(tmp_path)
    (tmp_path / "nvidia0").touch()
    assert may_have_gpu(tmp_path)
    for has_gpu, wanted in ((False, "cpu"), (True, "auto")):
        monkeypatch.setattr("daemon.engine.compute.may_have_gpu", lambda has_gpu=has_gpu: has_gpu)
        compute = ComputeThread("auto", 1)
        assert compute.wanted == wanted
        compute.close()
    compute.note_found(DeviceFacts("cuda", "H200", 5))
    assert compute.facts == DeviceFacts("cuda", "H200", 5)


def test_what_a_gpu_says_is_of_the_machine_unless_it_only_lacked_memory() -> None:
    broken = (
        "CUDA error: an illegal memory access was encountered",
        "cuFFT error: CUFFT_INTERNAL_ERROR",
        "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`",
        "CUDA driver error: unspecified launch failure",
    )
    for words in broken:
        assert is_of_the_machine(RuntimeError(words)), words
        assert not is_out_of_device_memory(RuntimeError(words)), words
    full = (
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("cuFFT error: CUFFT_ALLOC_FAILED"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    )
    for error in full:
        assert not is_of_the_machine(error), error
        assert is_out_of_device_memory(error), error
        failure = describe_failure("motion_correction", error)
        assert (failure.kind, failure.retryable) == ("out_of_memory", True)
        assert "the GPU's memory is full" in failure.message
    of_cupy = type("CUDARuntimeError", (RuntimeError,), {"__module__": "cupy_backends.cuda.api.runtime"})
    assert is_of_the_machine(of_cupy("cudaErrorIllegalAddress: an illegal memory access"))
    assert not is_of_the_machine(of_cupy("cudaErrorMemoryAllocation: out of memory"))
    assert not is_of_the_machine(RuntimeError("the size of tensor a must match"))


async def test_the_check_tells_kernels_that_do_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "llvmlite.py").write_text('raise OSError("libllvmlite.so: cannot open shared object file")\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ComputeUnavailable, match="its kernels do not run: OSError: libllvmlite"):
        await check_compute("cpu")


KEPT = """
import sys
from pathlib import Path
from daemon.engine.compute import load_device
from daemon.engine.kernel_store import KernelStore
KernelStore(Path(sys.argv[1])).keep()
load_device("cpu", 1)
"""


@pytest.mark.slow
def test_kernels_are_kept_where_the_daemon_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    command = [sys.executable, "-c", KEPT, str(tmp_path / "kernels")]
    subprocess.run(command, cwd=REPOSITORY, timeout=LIMIT_S, check=True)
    (kept,) = (tmp_path / "kernels").rglob("warp_cpu.add_band*.nbc")
    kept.write_bytes(kept.read_bytes()[:100])  # as a power cut leaves it
    for index in (tmp_path / "kernels").rglob("*.nbi"):
        index.write_bytes(b"")
    kernels = KernelStore(tmp_path / "kernels")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(kernels.directory))
    with pytest.raises(ComputeUnavailable, match="its kernels do not run"):
        anyio.run(check_compute, "cpu")
    assert anyio.run(check_compute, "cpu", kernels).device == "cpu"


HEAP_OVER_MANY_MOVIES = """
import time
import torch
from daemon.engine import compute
from daemon.engine.threads import FileThreads
from daemon.formats.allocation import allocate
from daemon.numerics.parallel import map_in_order, only_side_by_side

compute._GIVEN_BACK_AFTER_S = (1.0, 2.0)
thread, readers = compute.ComputeThread("cpu", 2), FileThreads(2, "reader")
held_mb = lambda: int(open("/proc/self/statm").read().split()[1]) * 4096 >> 20


def read():
    movie = allocate((24, 1024, 1024), "uint8")
    movie.fill(1)
    return movie


@only_side_by_side()
def correct(movie):
    planes = [torch.zeros(1024, 1024 + 64 * n) for n in range(8)]
    transform = lambda n: torch.fft.rfft2(planes[n % 8]).abs().sum()
    return sum(map_in_order(transform, range(24), device=torch.device("cpu")))


held = []
for _ in range(30):
    movie = readers.submit(read).result()
    thread.submit(lambda: correct(movie), priority=0).result()
    held.append(held_mb())
del movie
assert max(held[10:]) < max(held[:10]) + 40, held
until = time.monotonic() + 60
while held_mb() > held[-1] - 60:
    assert time.monotonic() < until, (held[-1], held_mb(), "it goes back to the system when nothing is computed")
    time.sleep(0.1)
thread.close()
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"), reason="only glibc's heap can be told")
def test_memory_does_not_grow_from_movie_to_movie_and_goes_back_after_the_last() -> None:
    done = run_python(HEAP_OVER_MANY_MOVIES)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("is_compiled", [True, False])
async def test_that_it_is_prepared_what_computes_is_said_and_for_how_long(
    build: Callable[..., Workshop], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_compiled: bool
) -> None:
    engine, said = build().engine, list[str]()
    kernels = KernelStore(tmp_path / "kernels")
    monkeypatch.setattr(KernelStore, "is_empty", lambda _: not is_compiled)

    async def load() -> None:
        said.append(engine.preparing)

    monkeypatch.setattr(engine.compute, "device", load)
    with structlog.testing.capture_logs() as logged:
        await engine.prove_compute(kernels)
    more = "" if is_compiled else " (compiling, about a minute the first time)"
    assert said == [f"preparing what computes{more}"]
    assert [line["event"] for line in logged] == said
    assert engine.preparing == ""
