"""From what a stage, reader or writer raised to the failure that is recorded: a value, in words for people."""

import sys
import traceback

import structlog

from daemon.engine.compute import is_out_of_memory
from daemon.errors import (
    ComputeUnavailable,
    ConfigurationInvalid,
    ElcanoError,
    FileUnreadable,
    MovieUnreadable,
    StageHung,
    StoreUnavailable,
)
from daemon.pipeline.result import TaskFailed

log = structlog.get_logger(__name__)

OUT_OF_DEVICE_MEMORY = "the GPU's memory is full"

_CUDA_WORDS = ("CUDA error", "CUDA driver error", "cuFFT error", "cuBLAS error", "CUBLAS_STATUS_", "CUSOLVER_STATUS_")
_NO_ROOM = ("CUDA error: out of memory", "cudaErrorMemoryAllocation", "CUFFT_ALLOC_FAILED", "CUBLAS_STATUS_ALLOC")
"""How CUDA's libraries say that there is no memory, through torch and cupy."""


def describe_failure(what: str, error: Exception) -> TaskFailed:
    """Return the failure of `what`, the name of a stage or a few words."""
    if isinstance(error, ElcanoError):
        return TaskFailed.from_error(error)
    detail = "".join(traceback.format_exception(error))
    if is_out_of_device_memory(error):
        hint = "Give other programs on this GPU less of it, or process on one with more memory."
        return TaskFailed("out_of_memory", f"{what}: {OUT_OF_DEVICE_MEMORY}: {error}.", True, hint, detail)
    if is_out_of_memory(error):
        hint = "Lower [compute] byte_budget_gib or readers, or process on a larger machine."
        return TaskFailed("out_of_memory", f"{what} ran out of memory: {error}.", True, hint, detail)
    if isinstance(error, ValueError):
        # numerics refuse what they cannot compute with, in a sentence
        return TaskFailed("computation", f"{what}: {error}.", detail=detail)
    log.error("a fault of Elcano: please report it with these lines", what=what, error=repr(error), traceback=detail)
    message = f"{what} failed unexpectedly: {type(error).__name__}: {error}."
    return TaskFailed("internal", message, hint="This is a fault of Elcano; its log has the details.", detail=detail)


def describe_movie_failure(image_name: str, error: Exception) -> TaskFailed:
    """Return the failure to open or decode a movie that had been proven whole."""
    if isinstance(error, FileUnreadable) and isinstance(error.__cause__, OSError):
        error = MovieUnreadable(error.path, error.__cause__)
    return describe_failure(f"Reading the movie of {image_name}", error)


def is_out_of_device_memory(error: BaseException) -> bool:
    """Whether a GPU had too little memory; what it holds otherwise is as good as before."""
    torch = sys.modules.get("torch")  # what is not loaded has raised nothing
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in _NO_ROOM)


def _is_of_cuda(error: RuntimeError) -> bool:
    return type(error).__module__.startswith("cupy") or any(word in str(error) for word in _CUDA_WORDS)


def is_of_the_machine(error: BaseException) -> bool:
    """Whether an error says that the daemon itself cannot go on, alone or among others."""
    if isinstance(error, BaseExceptionGroup):
        return any(is_of_the_machine(part) for part in error.exceptions)
    # After such an error every later call on the device fails too: only a new process gets a new context.
    is_broken_device = isinstance(error, RuntimeError) and not is_out_of_device_memory(error) and _is_of_cuda(error)
    # A hung stage keeps the compute thread, and a thread cannot be killed. A device that was there at the start and
    # cannot be loaded for a movie is no fault of the movie.
    broken = StoreUnavailable | StageHung | ComputeUnavailable | ConfigurationInvalid
    return isinstance(error, broken) or is_broken_device
