"""What is said to torch about the card, as far as that shows without one."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

from daemon.engine.cuda_calls import DeviceMemory, TorchCuda
from daemon.engine.gpu import Gpu
from daemon.engine.gpu_check import look_for_gpus
from tests.engine.fake_cuda import FakeCuda


class Runtime:
    """A CUDA runtime that answers with these codes."""

    def __init__(self, *codes: int) -> None:
        self.codes = list(codes)
        self.asked: list[tuple[int, ...]] = []

    def cudaHostRegister(self, *args: int) -> int:  # noqa: N802 - CUDA's name
        self.asked.append(args)
        return self.codes.pop(0)


def test_memory_that_is_not_pinned_leaves_no_error_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime, left_over = Runtime(0, 2), ["CUDA error: out of memory"]
    monkeypatch.setattr("torch.cuda.cudart", lambda: runtime)
    monkeypatch.setattr("torch.cuda.device", lambda device: nullcontext())

    def launch(*args: object, **more: object) -> None:
        if left_over:
            raise RuntimeError(left_over.pop())

    monkeypatch.setattr("torch.zeros", launch)
    calls = TorchCuda(torch.device("cuda", 1))
    calls.pin(4096, 8192)
    assert runtime.asked == [(4096, 8192, 1)]
    with pytest.raises(RuntimeError, match=r"does not pin host memory \(error 2\)"):
        calls.pin(4096, 8192)
    assert left_over == [], "the next launch of anyone would be told"


def test_what_others_hold_is_not_this_process_own() -> None:
    memory = DeviceMemory(total_bytes=100, free_bytes=30, held_bytes=20, used_bytes=5)
    assert memory.capacity_bytes == 50


def test_a_card_without_a_number_is_the_current_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.current_device", lambda: 3)
    assert TorchCuda(torch.device("cuda")).device == torch.device("cuda", 3)
    assert TorchCuda(torch.device("cuda", 1)).device == torch.device("cuda", 1)


def test_arithmetic_is_that_of_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = FakeCuda()
    plans = SimpleNamespace(max_size=4096)
    monkeypatch.setattr("torch.backends.cuda.cufft_plan_cache", {cuda.device: plans})
    monkeypatch.setattr("torch.backends.cudnn.allow_tf32", True)
    Gpu(cuda).settle_arithmetic()
    assert plans.max_size == 64
    assert torch.backends.cudnn.allow_tf32 is False
    assert torch.get_float32_matmul_precision() == "highest"


def test_a_usable_card_says_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = SimpleNamespace(name="H200", total_memory=139 << 30)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda number: facts)
    for has_cupy, words in ((True, ""), (False, ", without cupy: EER movies are decoded on the CPU")):
        monkeypatch.setattr("daemon.engine.gpu_check.find_spec", lambda name, has=has_cupy: name if has else None)
        assert look_for_gpus().usable == (f"cuda:0 H200, 139 GiB{words}",)
