"""What there is to compute on, in words: for `elcano doctor`, where a driver that does not answer must be said."""

import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch

_DRIVER = Path("/proc/driver/nvidia/version")
_DEVICES = Path("/dev")


@dataclass(frozen=True)
class GpuReport:
    """The GPUs that can be used, and why one that is built in cannot (empty: none is, or all is well)."""

    usable: tuple[str, ...]
    problem: str = ""


def look_for_gpus(driver: Path = _DRIVER, devices: Path = _DEVICES) -> GpuReport:
    """Return the usable GPUs with their memory, or what keeps this machine's GPU from being used."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        is_usable = torch.cuda.is_available()
    if is_usable:
        return GpuReport(tuple(_describe(number) for number in range(torch.cuda.device_count())))
    nodes = sorted(path.name for path in devices.glob("nvidia[0-9]*"))
    if not driver.exists() and not nodes:
        return GpuReport(())
    seen = f"the driver shows {', '.join(nodes)}" if nodes else "the driver is loaded without a device in /dev"
    if torch.version.cuda is None:
        return GpuReport((), f"{seen}, but this PyTorch is built for the CPU only")
    why = "; ".join(str(warning.message).partition("\n")[0] for warning in said) or "it gives no reason"
    return GpuReport((), f"{seen}, but PyTorch (CUDA {torch.version.cuda}) cannot use it: {why}")


def _describe(number: int) -> str:
    facts = torch.cuda.get_device_properties(number)
    without = "" if find_spec("cupy") else ", without cupy: EER movies are decoded on the CPU"
    return f"cuda:{number} {facts.name}, {facts.total_memory / 2**30:.0f} GiB{without}"
