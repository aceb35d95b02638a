"""What `elcano doctor` looks at in the machine: memory, GPU, clock, and the programs that steps run."""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from daemon.cli.findings import LOOK_LIMIT_S, Finding, Inspection, Look, look_patiently

_BESIDE_BUDGET_GIB = 2.0
"""What the process takes beside the movies in flight: libraries, database, pictures."""
_TIME_ERROR = 5


def check_memory(inspection: Inspection) -> Iterator[Finding]:
    """Does this machine have the memory that movies in flight may take?"""
    total_gib = memory_limit_bytes() / 2**30
    budget_gib = inspection.settings.compute.byte_budget_gib
    found = f"{budget_gib:g} GiB for movies in flight, of {total_gib:.1f} GiB that this machine gives"
    hint = f"Set [compute] byte_budget_gib to {max(total_gib - _BESIDE_BUDGET_GIB, 0.25):.2g} or less."
    if budget_gib > total_gib:
        yield Finding("memory", "fail", found, hint)
    elif budget_gib + _BESIDE_BUDGET_GIB > total_gib:
        yield Finding("memory", "warn", found, hint)
    else:
        yield Finding("memory", "ok", found)


def memory_limit_bytes(limit: Path = Path("/sys/fs/cgroup/memory.max")) -> int:
    """Memory of the machine, or of the container where that is less."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        said = limit.read_text(encoding="ascii").strip()
    except OSError:
        return total
    return min(total, int(said)) if said.isdigit() else total


def check_device(inspection: Inspection) -> Iterator[Finding]:
    """Is what is to compute there?"""
    compute = inspection.settings.compute
    try:
        from daemon.engine.device import choose_device
        from daemon.engine.gpu_check import look_for_gpus
    except Exception as error:  # noqa: BLE001 - whatever a broken library raises is the finding
        yield Finding("compute device", "fail", f"not loaded: {type(error).__name__}: {error}", "Install Elcano again.")
        return
    gpus = look_for_gpus()
    if gpus.problem:
        hint = "Compare the driver with `nvidia-smi`, and PyTorch's build with the driver; the CPU is used meanwhile."
        yield Finding("GPU", "warn", gpus.problem, hint)
    else:
        yield Finding("GPU", "ok", "; ".join(gpus.usable) or "none in this machine")
    try:
        device = choose_device(compute.device)
    except ValueError as error:
        yield Finding("compute device", "fail", str(error), "Set [compute] device to auto or cpu.")
        return
    yield Finding("compute device", "ok", f"{device}, {compute.thread_count()} thread(s)")


def check_programs(inspection: Inspection) -> Iterator[Finding]:
    """Are the programs there that steps run in place of Elcano's own work?"""
    from daemon.pipeline.stage import StageParams

    looks = [
        Look(f"program of {name}", Path(program), partial(_look_for_program, f"program of {name}", program))
        for name, stage in inspection.settings.stages.items()
        if stage.enabled and isinstance(stage.params, StageParams)
        for program in stage.params.programs
    ]
    yield from look_patiently(inspection, looks, limit_s=LOOK_LIMIT_S)


def _look_for_program(what: str, program: str) -> Iterator[Finding]:
    from daemon.errors import ProgramFailed
    from daemon.exchange.programs import find_program

    try:
        yield Finding(what, "ok", str(find_program(program)))
    except ProgramFailed as error:
        yield Finding(what, "fail", error.message, error.hint)


def check_clock(_: Inspection) -> Iterator[Finding]:
    """Does something keep this machine's clock right?"""
    is_right = is_clock_synchronised()
    if is_right is False:
        hint = "Latency and the order of events need a right clock: run chrony or systemd-timesyncd."
        yield Finding("clock", "warn", "not synchronised, as the kernel says", hint)
    else:
        said = "synchronised" if is_right else "the kernel does not say whether it is synchronised"
        yield Finding("clock", "ok", said)


def is_clock_synchronised() -> bool | None:
    """Whether something keeps the kernel's clock right; None where the kernel does not say."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "adjtimex"):
        return None
    state = int(libc.adjtimex(ctypes.create_string_buffer(512)))  # struct timex, all zero: only ask
    return None if state < 0 else state != _TIME_ERROR
