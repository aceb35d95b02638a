"""The few raw kernels, each with a torch twin that is its reference and runs wherever the kernel does not.

Kernels are compiled by numba for the CPU when they are first called. This is the one place that says whether they are
used: on every device but the CPU, and where numba is not installed, the torch twin runs.
"""

from importlib.util import find_spec

import torch

_HAS_NUMBA = find_spec("numba") is not None
_RAW_TYPES = (torch.uint8, torch.int8, torch.uint16, torch.int16, torch.int32, torch.float32)


def has_kernels(device: torch.device) -> bool:
    """Whether compiled kernels do the work on this device."""
    return _HAS_NUMBA and device.type == "cpu"


def type_for_kernels(raw: torch.dtype) -> torch.dtype:
    """Type that raw pixels are brought to before kernels read them: their own where kernels are made for it."""
    return raw if raw in _RAW_TYPES else torch.float32
