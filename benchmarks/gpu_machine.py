"""What a machine lent for its GPU has, and stands in for what it lacks."""

import sys
import types
from importlib.util import find_spec

import torch

_GIB = 2**30
_OPTIONAL = {
    "scipy": "motion cannot be computed without it",
    "cupy": "events are not counted on the GPU",
}


class _Nothing:
    """Takes the place of what is imported and not used here."""

    def __class_getitem__(cls, item: object) -> type["_Nothing"]:
        del item
        return cls


def stand_in_for_what_is_not_used() -> None:
    """Let be imported what asks for annotations of shapes (jaxtyping), and for codecs that nothing here uses."""
    for name in ("jaxtyping", "imagecodecs"):
        if find_spec(name) is None:
            module = types.ModuleType(name)
            module.__getattr__ = lambda _: _Nothing  # type: ignore[method-assign]
            sys.modules[name] = module


def find_what_is_missing() -> list[str]:
    """Say what is not installed and what that costs."""
    return [f"{name} is not installed: {cost}" for name, cost in _OPTIONAL.items() if find_spec(name) is None]


def describe_gpu(device: torch.device, bandwidths: dict[str, float]) -> str:
    """Name the card, its memory, its versions and what was measured of it."""
    facts = torch.cuda.get_device_properties(device)
    return (
        f"{facts.name}, {facts.total_memory / _GIB:.0f} GiB, torch {torch.__version__} (CUDA {torch.version.cuda}): "
        f"memory {bandwidths['memory_bytes_per_s'] / 1e12:.2f} TB/s, copies up "
        f"{bandwidths['upload_bytes_per_s'] / 1e9:.1f} GB/s, measured"
    )
