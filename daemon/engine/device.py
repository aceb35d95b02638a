"""The device that is computed on. Importing this module loads torch: `daemon.engine.compute` does when it must."""

from typing import Any

import numpy as np
import torch

from daemon.pipeline.context import Array, Movie


def choose_device(wanted: str) -> torch.device:
    """Turn `auto`, `cpu` or `cuda[:n]` into a device. Raises ValueError when a wanted GPU is not there."""
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(wanted)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"[compute] device = {wanted!r}: no usable CUDA device is visible to this process")
    return device


class TorchDevice:
    """The pipeline's Device on torch."""

    def __init__(self, device: torch.device, threads: int = 1) -> None:
        self.device = device
        self.threads = threads
        is_gpu = device.type == "cuda"
        self.name = torch.cuda.get_device_name(device) if is_gpu else str(device)
        self.total_bytes = torch.cuda.get_device_properties(device).total_memory if is_gpu else None
        """Its memory; None where it is the host's own, which the byte budget counts."""

    def settle_thread(self) -> None:
        """Hold torch to the configured threads, for the thread that calls this."""
        torch.set_num_threads(self.threads)
        torch.set_deterministic_debug_mode("warn")  # use_deterministic_algorithms would import torch's compiler as well

    def used_bytes(self) -> int | None:
        """Return how much of its own memory is taken, by whomever; None without any."""
        if self.total_bytes is None:
            return None
        free_bytes, total_bytes = torch.cuda.mem_get_info(self.device)
        return total_bytes - free_bytes

    def put(self, array: Array) -> torch.Tensor:
        """Bring an array to the device; on the CPU a writable one, such as a movie of gigabytes, is shared."""
        contiguous = np.ascontiguousarray(array)
        if not contiguous.flags.writeable:  # what others read too: torch could not keep anyone from writing to it
            contiguous = contiguous.copy()
        return torch.from_numpy(contiguous).to(self.device)

    def put_movie(self, movie: Movie) -> "torch.Tensor | FramesOnDemand":
        """Bring a movie to the device, whole where it is in memory, else each frame when it is wanted."""
        whole_tyx = movie.whole_tyx
        return FramesOnDemand(movie, self) if whole_tyx is None else self.put(whole_tyx)

    def get(self, tensor: Any) -> Array:
        """Copy a tensor back, contiguous."""
        return np.ascontiguousarray(tensor.detach().cpu().numpy())


class FramesOnDemand:
    """A movie's frames as numerics asks for them: decoded, brought to the device, and kept by nobody."""

    def __init__(self, movie: Movie, device: TorchDevice) -> None:
        self._movie, self._device = movie, device
        self.shape: tuple[int, ...] = movie.shape_tyx
        self.dtype = torch.from_numpy(np.empty(0, movie.dtype)).dtype
        self.device = device.device

    def __getitem__(self, frame: int, /) -> torch.Tensor:
        """Return one raw frame (y, x)."""
        return self._device.put(self._movie.frame_yx(frame))
