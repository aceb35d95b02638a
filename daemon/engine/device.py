"""The device that is computed on. Importing this module loads torch: `daemon.engine.compute` does when it must."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from daemon.numerics.movie_source import MovieSource
from daemon.pipeline.context import Array, Later, Movie

if TYPE_CHECKING:
    from daemon.engine.gpu import Gpu

_WORTH_A_STREAM_BYTES = 1 << 20


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
        self.gpu = _open_gpu(device) if is_gpu else None
        """What works beside the compute stream; None where the device is the host."""

    def settle_thread(self) -> None:
        """Hold torch to the configured threads, for the thread that calls this."""
        torch.set_num_threads(self.threads)
        torch.set_deterministic_debug_mode("warn")  # use_deterministic_algorithms would import torch's compiler as well
        if self.gpu is not None:
            self.gpu.settle_arithmetic()

    def used_bytes(self) -> int | None:
        """Return how much of its own memory is taken, by whomever; None without any."""
        if self.total_bytes is None:
            return None
        free_bytes, total_bytes = torch.cuda.mem_get_info(self.device)
        return total_bytes - free_bytes

    def put(self, array: Array) -> torch.Tensor:
        """Bring an array to the device; on the CPU it is shared, and nobody may write to it: numerics never does."""
        contiguous = np.ascontiguousarray(array)
        if not contiguous.flags.writeable:  # what others read too, such as the gain, need not be there twice
            contiguous = np.asarray(_Lent(contiguous))
        return torch.from_numpy(contiguous).to(self.device)

    def put_movie(self, movie: Movie) -> MovieSource:
        """Bring a movie to the device, whole where it is in memory, else each frame when it is wanted.

        On a GPU it is brought once, however often it is asked for, and frame by frame where the whole finds no room.
        """
        if self.gpu is not None:
            source = self.gpu.source_of(movie)
            return FramesOnDemand(movie, self) if source is None else source
        whole_tyx = movie.whole_tyx
        return FramesOnDemand(movie, self) if whole_tyx is None else self.put(whole_tyx)

    def get(self, tensor: Any) -> Array:
        """Copy a tensor back, contiguous."""
        return self.get_behind(tensor).result()

    def get_behind(self, tensor: Any) -> Later:
        """Begin to copy a tensor back: on a GPU what is computed next does not wait for it."""
        if self.gpu is not None and tensor.nbytes >= _WORTH_A_STREAM_BYTES:
            return self.gpu.bring_down(tensor)
        return _There(np.ascontiguousarray(tensor.detach().cpu().numpy()))


def _open_gpu(device: torch.device) -> "Gpu":
    from daemon.engine.cuda_calls import TorchCuda  # noqa: PLC0415 - what reads movies is loaded where it is wanted
    from daemon.engine.gpu import Gpu  # noqa: PLC0415

    return Gpu(TorchCuda(device))


class _Lent:
    """The memory of an array that is not to be written to: torch knows no such thing, and would warn of each."""

    def __init__(self, array: Array) -> None:
        self._array = array
        interface = array.__array_interface__
        self.__array_interface__ = interface | {"data": (interface["data"][0], False)}


class _There:
    """An array that is there."""

    def __init__(self, array: Array) -> None:
        self._array = array

    def result(self) -> Array:
        """Return it."""
        return self._array


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
