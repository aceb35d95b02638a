"""`elcano doctor`: is this machine ready to run the daemon?"""

import json
import socket
import sys
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from daemon.cli import doctor_folders, doctor_machine
from daemon.cli.findings import SEARCH_LIMIT_S, Check, Finding, Inspection, Look, look_patiently
from daemon.cli.options import ConfigOption, JsonOption, answer_of, read_settings
from daemon.domain.names import spell_controls

if TYPE_CHECKING:
    from daemon.config.schema import Settings

_MOUNT_LIMIT_S = 120.0
"""Both nodes wait for one another's numbers to come through the file server."""


def doctor(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Check whether this machine is ready to run the daemon.

    Configuration, folders, disks, NATS, database, memory, GPU, programs, clock and sessions; each place is waited for
    a few seconds only. Exit 1 if anything fails.

    Example: elcano doctor --config /etc/elcano/config.toml
    """
    settings = read_settings(config, with_stages=True)
    inspection = _begin(settings)
    findings = []
    for finding in (finding for check in _CHECKS for finding in check(inspection)):
        findings.append(finding)
        if not as_json:  # as it comes: what hangs is the line that is missing
            hint = f" -> {finding.hint}" if finding.hint and finding.status != "ok" else ""
            print(spell_controls(f"{finding.status:<4}  {finding.what}: {finding.found}{hint}"), flush=True)
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
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
    if inspection.daemon is None:
        return
    home = inspection.settings.paths.home
    if home in inspection.unanswered:
        yield Finding("mount", "fail", f"{home} does not answer: not compared with what the daemon sees")
        return
    yield from look_patiently(
        inspection, [Look("mount", home, partial(_compare_mounts, inspection))], limit_s=_MOUNT_LIMIT_S
    )


def _compare_mounts(inspection: Inspection) -> Iterator[Finding]:
    from daemon.errors import ElcanoError
    from daemon.sessions.mount_check import check_mounts

    settings, host = inspection.settings, socket.gethostname()
    roots = [root for root in settings.watched_roots if root not in inspection.unanswered]

    def ask(name: str, arguments: dict[str, Any]) -> Any:
        return answer_of(settings, name, arguments)

    try:
        for verdict in check_mounts(settings.paths.home, roots, ask, host=host):
            yield Finding("mount", verdict.status, verdict.found, verdict.hint)
    except ElcanoError as error:
        yield Finding("mount", "fail", error.message, error.hint)


def _check_store(inspection: Inspection) -> Iterator[Finding]:
    path = inspection.settings.store_path
    if inspection.settings.state in inspection.unanswered:
        return
    if inspection.daemon is not None:
        yield Finding("database", "ok", f"{path}, in use by the daemon")
        return
    yield from look_patiently(inspection, [Look("database", path, partial(_open_store, path))], limit_s=SEARCH_LIMIT_S)


def _open_store(path: Path) -> Iterator[Finding]:
    from daemon.errors import StoreUnavailable
    from daemon.store.store import Store

    if not path.exists():
        yield Finding("database", "ok", f"{path} will be made")
        return
    try:
        with Store.open_read_only(path):
            yield Finding("database", "ok", str(path))
    except StoreUnavailable as error:
        is_owned = "owns it" in error.message
        yield Finding("database", "warn" if is_owned else "fail", error.message, error.hint)


_CHECKS: tuple[Check, ...] = (
    _check_configuration,
    doctor_folders.check_roots,
    doctor_folders.check_places,
    _check_bus,
    _check_mounts,
    _check_store,
    doctor_machine.check_memory,
    doctor_machine.check_device,
    doctor_machine.check_programs,
    doctor_machine.check_clock,
    doctor_folders.check_file_times,
    doctor_folders.check_sessions,
    doctor_folders.check_imports,
    doctor_folders.check_troubles,
)
