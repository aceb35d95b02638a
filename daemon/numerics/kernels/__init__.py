"""The few raw kernels, each with a torch twin that is its reference and runs wherever the kernel does not.

Kernels are compiled by numba for the CPU when they are first called. This is the one place that says whether they are
used: on every device but the CPU, and where numba is not installed, the torch twin runs. What decodes files has no twin
of ours, and runs without torch, whatever the device.
"""

from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

HAS_COMPILER = find_spec("numba") is not None
_RAW_TYPES = ("uint8", "int8", "uint16", "int16", "int32", "float32")


def has_kernels(device: "torch.device") -> bool:
    """Whether compiled kernels do the work on this device."""
    return HAS_COMPILER and device.type == "cpu"


def raw_bytes_for_kernels(dtype: str) -> int:
    """Bytes that a raw pixel of this numpy type takes once it is of a type that kernels are made for."""
    return np.dtype(dtype).itemsize if dtype in _RAW_TYPES else 4


def type_for_kernels(raw: "torch.dtype") -> "torch.dtype":
    """Type that raw pixels are brought to before kernels read them: their own where kernels are made for it."""
    import torch  # noqa: PLC0415 - see above

    return raw if raw in [getattr(torch, name) for name in _RAW_TYPES] else torch.float32
