"""Proves at the start that what computes can be loaded, in a process that ends at once: the daemon stays small."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict
from typing import Any

import anyio
import anyio.to_thread
import structlog

from daemon.engine.compute import KERNELS_FAIL, DeviceFacts, load_device
from daemon.engine.kernel_store import KernelStore
from daemon.errors import ComputeUnavailable, ConfigurationInvalid, Problem

log = structlog.get_logger()

_LIMIT_S = 300.0
_PROGRAM = "import sys; from daemon.engine.compute_check import tell; tell(sys.argv[1])"


def tell(wanted: str) -> None:
    """Load what computes and print what was found; the whole of the process that `check_compute` starts."""
    found: dict[str, Any]
    try:
        device = load_device(wanted, 1)
        found = {"facts": asdict(DeviceFacts(str(device.device), device.name, device.total_bytes))}
    except ConfigurationInvalid as error:
        found = {"problems": [problem.what for problem in error.problems]}
    except ComputeUnavailable as error:
        found = {"reason": error.reason}
    sys.stdout.write(json.dumps(found) + "\n")


async def check_compute(
    wanted: str, kernels: KernelStore | None = None, *, python: str = sys.executable, limit_s: float = _LIMIT_S
) -> DeviceFacts:
    """Return what would be computed on. Raises ComputeUnavailable, ConfigurationInvalid.

    Where compiled kernels do not run, what is kept of them in `kernels` is thrown away first, and all is tried again.
    """
    try:
        return await _check(wanted, python, limit_s)
    except ComputeUnavailable as error:
        if KERNELS_FAIL not in error.reason or kernels is None or not kernels.is_ours:
            raise
        log.warning("the compiled kernels are made anew", directory=str(kernels.directory), reason=error.reason)
    try:
        await anyio.to_thread.run_sync(kernels.empty)
    except OSError as error:
        reason = f"{KERNELS_FAIL}, and {kernels.directory} cannot be emptied: {error.strerror or error}"
        raise ComputeUnavailable(reason) from error
    try:
        return await _check(wanted, python, limit_s)
    except ComputeUnavailable as error:
        raise ComputeUnavailable(f"{error.reason} (they are kept in {kernels.directory})") from error


async def _check(wanted: str, python: str, limit_s: float) -> DeviceFacts:
    # The same environment and the same path as this process, or it would prove nothing.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [python, "-P", "-c", _PROGRAM, wanted]
    try:
        with anyio.fail_after(limit_s):
            ended = await anyio.run_process(command, check=False, stdin=subprocess.DEVNULL, env=environment)
    except TimeoutError:
        raise ComputeUnavailable(f"it takes longer than {limit_s:.0f} s") from None
    except OSError as error:
        raise ComputeUnavailable(f"{python}: {error.strerror or error}") from error
    try:
        said = json.loads(ended.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        words = ended.stderr.decode(errors="replace").strip().splitlines()
        raise ComputeUnavailable(_describe_end(ended.returncode, words[-1] if words else "")) from None
    if "problems" in said:
        raise ConfigurationInvalid("configuration", [Problem("compute.device", what) for what in said["problems"]])
    if "reason" in said:
        raise ComputeUnavailable(said["reason"])
    return DeviceFacts(**said["facts"])


def _describe_end(code: int, last_words: str) -> str:
    if code >= 0:
        return last_words or f"exit code {code}"
    # Such a library says nothing, or something else: the signal is what tells.
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    meaning = signal.strsignal(-code) or "unknown"
    return f"loading it was ended by {name} ({meaning})" + (f", after {last_words!r}" if last_words else "")
