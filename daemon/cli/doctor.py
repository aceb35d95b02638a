"""`elcano doctor`: is this machine ready to run the daemon?"""

import json
import os
import shlex
import shutil
import socket
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from daemon.cli.options import ConfigOption, JsonOption, answer_of, read_settings

if TYPE_CHECKING:
    from daemon.config.schema import Settings

_LEAST_STATE_GIB = 0.1
_USUAL_STATE_GIB = 2.0
_BESIDE_BUDGET_GIB = 2.0
"""What the process takes beside the movies in flight: libraries, database, pictures."""
_LARGEST_SKEW_S = 2.0
_MOST_SHOWN = 20


@dataclass(frozen=True)
class Finding:
    """One thing looked at: how it is, what was found, what to do unless it is ok."""

    what: str
    status: Literal["ok", "warn", "fail"]
    found: str
    hint: str = ""


@dataclass(frozen=True)
class Inspection:
    """What every check may look at; `daemon` is the status that a running daemon gave."""

    settings: "Settings"
    daemon: dict[str, Any] | None
    daemon_problem: Finding | None


def doctor(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Check configuration, folders, disks, NATS, database, memory, GPU, clock and sessions; exit 1 if anything fails.

    Example: elcano doctor --config /etc/elcano/config.toml
    """
    settings = read_settings(config, with_stages=True)
    inspection = _begin(settings)
    findings = [finding for check in _CHECKS for finding in check(inspection)]
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            hint = f" -> {finding.hint}" if finding.hint and finding.status != "ok" else ""
            print(f"{finding.status:<4}  {finding.what}: {finding.found}{hint}")
    if any(finding.status == "fail" for finding in findings):
        raise typer.Exit(1)


def _begin(settings: "Settings") -> Inspection:
    from daemon.errors import BusUnavailable, DaemonNotRunning

    try:
        return Inspection(settings, answer_of(settings, "status", {}), None)
    except DaemonNotRunning:
        return Inspection(settings, None, None)
    except BusUnavailable as error:
        return Inspection(settings, None, Finding("daemon", "fail", error.message, error.hint))


def _check_configuration(inspection: Inspection) -> Iterator[Finding]:
    from daemon import __version__

    python = ".".join(str(part) for part in sys.version_info[:3])
    yield Finding("program", "ok", f"elcano {__version__}, Python {python} at {sys.executable}")
    yield Finding("configuration", "ok", str(inspection.settings.source or "defaults: no config.toml was found"))


def _check_roots(inspection: Inspection) -> Iterator[Finding]:
    settings = inspection.settings
    for root in settings.watched_roots:
        yield _look_at_raw("watched root", root)
    for entry in settings.sessions:
        yield _look_at_raw("session directory", entry.directory)


def _look_at_raw(what: str, folder: Path) -> Finding:
    from daemon.watchers.mounts import find_mount

    try:
        with os.scandir(folder) as entries:
            next(entries, None)
    except FileNotFoundError:
        return Finding(what, "fail", f"{folder} is not there", "Mount or make it, or correct the configuration.")
    except OSError as error:
        said = error.strerror or str(error)
        return Finding(what, "fail", f"{folder}: {said}", "Let the user that runs elcano read it.")
    mount = find_mount(folder)
    if mount is None:
        kind = "file system unknown: polled"
    elif mount.is_local:
        kind = f"{mount.file_system}, local: the kernel tells of new files"
    else:
        kind = f"{mount.file_system}, network: polled"
    return Finding(what, "ok", f"{folder} ({kind})")


def _check_writable(inspection: Inspection) -> Iterator[Finding]:
    from daemon.watchers.mounts import find_mount

    settings = inspection.settings
    reserve_gib = settings.limits.disk_reserve_gib
    yield _look_at_room("home", settings.paths.home, reserve_gib, reserve_gib)
    yield _look_at_room("state", settings.state, _LEAST_STATE_GIB, _USUAL_STATE_GIB)
    yield from _look_at_readers(settings.state)
    mount = find_mount(_nearest(settings.state))
    if mount is not None and not mount.is_local:
        yield Finding(
            "state", "warn", f"lies on {mount.file_system}", "A database needs a local disk: set [paths] state."
        )


def _look_at_room(what: str, folder: Path, least_gib: float, usual_gib: float) -> Finding:
    place = _nearest(folder)
    free_gib = shutil.disk_usage(place).free / 2**30
    found = f"{folder}, {free_gib:.1f} GiB free" + ("" if place == folder else f" (will be made in {place})")
    if not os.access(place, os.W_OK | os.X_OK):
        why = "on a read-only mount" if os.statvfs(place).f_flag & os.ST_RDONLY else "not writable"
        return Finding(what, "fail", f"{found}, {why}", f"Let the user that runs elcano write to {place}.")
    if free_gib < least_gib:
        return Finding(what, "fail", found, f"Less than {least_gib:g} GiB is free: make room.")
    if free_gib < usual_gib:
        return Finding(what, "warn", found, f"Less than {usual_gib:g} GiB is free: make room soon.")
    return Finding(what, "ok", found)


def _look_at_readers(state: Path) -> Iterator[Finding]:
    """Warn when others may read the daemon's state: its database, and the way to its message server."""
    if not state.is_dir():
        return
    mode = stat.S_IMODE(state.stat().st_mode)
    if mode & (stat.S_IROTH | stat.S_IXOTH):
        yield Finding(
            "state",
            "warn",
            f"{state} has mode {mode:04o}: every user of this machine can look into it",
            f"chmod o-rwx {shlex.quote(str(state))}",
        )


def _nearest(folder: Path) -> Path:
    """The folder, or the one above it that exists."""
    return next(place for place in (folder, *folder.parents) if place.exists())


def _check_bus(inspection: Inspection) -> Iterator[Finding]:
    from daemon.bus.embedded import find_server_binary
    from daemon.errors import BusUnavailable

    settings = inspection.settings
    if settings.bus.url is None:
        try:
            yield Finding("nats-server", "ok", f"{find_server_binary(None)}, started by the daemon")
        except BusUnavailable as error:
            yield Finding("nats-server", "fail", error.message, error.hint)
    if inspection.daemon_problem is not None:
        yield inspection.daemon_problem
    elif inspection.daemon is None:
        yield Finding("daemon", "ok", "not running")
    else:
        data = inspection.daemon
        yield Finding("daemon", "ok", f"running, version {data['version']} on {data['host']}, process {data['pid']}")


def _check_mounts(inspection: Inspection) -> Iterator[Finding]:
    """Does this node see what the running daemon sees? Without a daemon there is nothing to compare with."""
    from daemon.errors import ElcanoError
    from daemon.sessions.mount_check import check_mounts

    if inspection.daemon is None:
        return
    settings, host = inspection.settings, socket.gethostname()

    def ask(name: str, arguments: dict[str, Any]) -> Any:
        return answer_of(settings, name, arguments)

    try:
        for verdict in check_mounts(settings.paths.home, settings.watched_roots, ask, host=host):
            yield Finding("mount", verdict.status, verdict.found, verdict.hint)
    except ElcanoError as error:
        yield Finding("mount", "fail", error.message, error.hint)


def _check_store(inspection: Inspection) -> Iterator[Finding]:
    from daemon.errors import StoreUnavailable
    from daemon.store.store import Store

    path: Path = inspection.settings.store_path
    if not path.exists():
        yield Finding("database", "ok", f"{path} will be made")
        return
    if inspection.daemon is not None:
        yield Finding("database", "ok", f"{path}, in use by the daemon")
        return
    try:
        with Store.open_read_only(path):
            yield Finding("database", "ok", str(path))
    except StoreUnavailable as error:
        is_owned = "owns it" in error.message
        yield Finding("database", "warn" if is_owned else "fail", error.message, error.hint)


def _check_memory(inspection: Inspection) -> Iterator[Finding]:
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


def _check_device(inspection: Inspection) -> Iterator[Finding]:
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


def _check_programs(inspection: Inspection) -> Iterator[Finding]:
    """Are the programs there that steps run in place of Elcano's own work?"""
    from daemon.errors import ProgramFailed
    from daemon.exchange.programs import find_program
    from daemon.pipeline.stage import StageParams

    for name, stage in inspection.settings.stages.items():
        programs = stage.params.programs if stage.enabled and isinstance(stage.params, StageParams) else ()
        for program in programs:
            try:
                yield Finding(f"program of {name}", "ok", str(find_program(program)))
            except ProgramFailed as error:
                yield Finding(f"program of {name}", "fail", error.message, error.hint)


def _check_clock(inspection: Inspection) -> Iterator[Finding]:
    is_right = is_clock_synchronised()
    if is_right is False:
        hint = "Latency and the order of events need a right clock: run chrony or systemd-timesyncd."
        yield Finding("clock", "warn", "not synchronised, as the kernel says", hint)
    else:
        yield Finding(
            "clock", "ok", "synchronised" if is_right else "the kernel does not say whether it is synchronised"
        )
    home = inspection.settings.paths.home
    if home.is_dir() and os.access(home, os.W_OK | os.X_OK):
        skew_s = file_time_skew_s(home)
        found = f"file times in {home} differ by {abs(skew_s):.1f} s from this machine's clock"
        hint = "Synchronise the clocks of this machine and of the file server."
        yield Finding("clock", "ok" if abs(skew_s) <= _LARGEST_SKEW_S else "warn", found, hint)


def is_clock_synchronised() -> bool | None:
    """Whether something keeps the kernel's clock right; None where the kernel does not say."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "adjtimex"):
        return None
    state = int(libc.adjtimex(ctypes.create_string_buffer(512)))  # struct timex, all zero: only ask
    return None if state < 0 else state != _TIME_ERROR


_TIME_ERROR = 5


def file_time_skew_s(folder: Path) -> float:
    """How far the clock that stamps new files in `folder` is ahead of this machine's."""
    before_s = time.time()
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(b"x")
        file.flush()
        os.fsync(file.fileno())
        stamped_s = os.fstat(file.fileno()).st_mtime
    after_s = time.time()
    # A stamp within the time that writing took, or one tick of the kernel's clock before, is right.
    if before_s - 0.05 <= stamped_s <= after_s:
        return 0.0
    return stamped_s - (after_s if stamped_s > after_s else before_s)


def _check_sessions(inspection: Inspection) -> Iterator[Finding]:
    folders = _passed_over(inspection)
    if not folders:
        yield Finding("passed over", "ok", "no folder with movies lacks a session")
        return
    rest = len(folders) - _MOST_SHOWN
    listed = ", ".join(folders[:_MOST_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
    hint = "elcano import DIR, or a [[session]] entry, or a session.json in each takes them up."
    yield Finding("passed over", "warn", f"movies but no session.json in {listed}", hint)


def _check_imports(inspection: Inspection) -> Iterator[Finding]:
    """Name sessions that a running daemon could not import; without one, those whose session.json it could not read."""
    from daemon.errors import ElcanoError
    from daemon.sessions.manifest import FILE_NAME, read_manifest
    from daemon.sessions.roots import resolve_under

    if inspection.daemon is not None:
        for session in inspection.daemon["not_imported"]:
            yield Finding("session", "fail", f"{session['directory']} could not be imported: {session['reason']}")
        return
    watched, allowed = inspection.settings.watched_roots, inspection.settings.allowed_roots
    for manifest in sorted(path for root in watched for path in root.glob(f"[!.]*/{FILE_NAME}")):
        try:
            read_manifest(resolve_under(manifest, allowed))
        except ElcanoError as error:
            yield Finding("session", "fail", error.message, error.hint)


def _passed_over(inspection: Inspection) -> list[str]:
    """What the daemon says; without one, what it would say."""
    if inspection.daemon is not None:
        return list(inspection.daemon["passed_over"])
    from daemon.config.places import REAL_PLACES
    from daemon.watchers.session_finder import find_passed_over

    settings = inspection.settings
    named = [entry.directory for entry in settings.sessions]
    known = [*REAL_PLACES.real_paths(named).values(), *_stored_directories(settings)]
    return find_passed_over(settings.watched_roots, settings.allowed_roots, settings.watch.pattern, known)


def _stored_directories(settings: "Settings") -> list[Path]:
    """Raw directories of the sessions that the store knows; none while it cannot be read (its own check says so)."""
    import anyio

    from daemon.errors import StoreUnavailable
    from daemon.store import sessions
    from daemon.store.store import Store

    if not settings.store_path.exists():
        return []
    try:
        with Store.open_read_only(settings.store_path) as store:
            return [row.session.raw_directory for row in anyio.run(sessions.sessions, store)]
    except StoreUnavailable:
        return []


_CHECKS: tuple[Callable[[Inspection], Iterator[Finding]], ...] = (
    _check_configuration,
    _check_roots,
    _check_writable,
    _check_bus,
    _check_mounts,
    _check_store,
    _check_memory,
    _check_device,
    _check_programs,
    _check_clock,
    _check_sessions,
    _check_imports,
)
