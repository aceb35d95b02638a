"""`elcano doctor`: is this machine ready to run the daemon?"""

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from daemon.cli.options import ConfigOption, JsonOption, read_settings

if TYPE_CHECKING:
    from daemon.config.schema import Settings


@dataclass(frozen=True)
class Finding:
    """One thing looked at: is it right, what was found, what to do."""

    what: str
    is_good: bool
    found: str
    hint: str = ""


def doctor(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Check configuration, folders, disk space, NATS, database and compute device; exit 1 if anything is wrong.

    Example: elcano doctor --config /etc/elcano/config.toml
    """
    settings = read_settings(config, with_stages=True)
    findings = [finding for check in _CHECKS for finding in check(settings)]
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            mark = "ok   " if finding.is_good else "WRONG"
            hint = f" -> {finding.hint}" if finding.hint and not finding.is_good else ""
            print(f"{mark} {finding.what}: {finding.found}{hint}")
    if not all(finding.is_good for finding in findings):
        raise typer.Exit(1)


def _check_configuration(settings: "Settings") -> Iterator[Finding]:
    yield Finding("configuration", is_good=True, found=str(settings.source or "defaults"))
    python = ".".join(str(part) for part in sys.version_info[:3])
    yield Finding("python", is_good=True, found=f"{python} at {sys.executable}")


def _check_roots(settings: "Settings") -> Iterator[Finding]:
    from daemon.watchers.mounts import find_mount

    for root in settings.watched_roots:
        if not root.is_dir():
            yield Finding("watched root", is_good=False, found=f"{root} is not there", hint="Mount or make it.")
            continue
        readable = os.access(root, os.R_OK | os.X_OK)
        mount = find_mount(root)
        kind = (
            "unknown file system"
            if mount is None
            else f"{mount.file_system}, {'local' if mount.is_local else 'network'}"
        )
        yield Finding("watched root", readable, f"{root} ({kind})", "Give the user that runs elcano the right to read.")


def _check_writable(settings: "Settings") -> Iterator[Finding]:
    for what, folder in (("home", settings.paths.home), ("state", settings.state)):
        place = next(place for place in (folder, *folder.parents) if place.exists())
        free_gib = shutil.disk_usage(place).free / 2**30
        found = f"{folder}, {free_gib:.1f} GiB free"
        if place != folder:
            found += f" (will be made in {place})"
        reserve_gib = settings.limits.disk_reserve_gib if what == "home" else 0.1
        if not os.access(place, os.W_OK | os.X_OK):
            yield Finding(what, is_good=False, found=f"{found}, not writable", hint=f"Change the owner of {place}.")
        else:
            yield Finding(what, free_gib >= reserve_gib, found, f"Less than {reserve_gib:g} GiB is free: make room.")


def _check_bus(settings: "Settings") -> Iterator[Finding]:
    from daemon.bus.embedded import find_server_binary
    from daemon.cli.options import answer_of
    from daemon.errors import BusUnavailable, DaemonNotRunning

    if settings.bus.url is None:
        try:
            yield Finding("nats-server", is_good=True, found=str(find_server_binary(None)))
        except BusUnavailable as error:
            yield Finding("nats-server", is_good=False, found=error.message, hint=error.hint)
    try:
        data = answer_of(settings, "status", {})
        yield Finding("daemon", is_good=True, found=f"running, version {data['version']} on {data['host']}")
    except DaemonNotRunning:
        yield Finding("daemon", is_good=True, found="not running")
    except BusUnavailable as error:
        yield Finding("daemon", is_good=False, found=error.message, hint=error.hint)


def _check_store(settings: "Settings") -> Iterator[Finding]:
    from daemon.errors import StoreUnavailable
    from daemon.store.store import Store

    path: Path = settings.store_path
    if not path.exists():
        yield Finding("database", is_good=True, found=f"{path} will be made")
        return
    try:
        with Store.open_read_only(path):
            yield Finding("database", is_good=True, found=str(path))
    except StoreUnavailable as error:
        is_owned = "owns it" in error.message
        yield Finding("database", is_owned, error.message, error.hint)


def _check_device(settings: "Settings") -> Iterator[Finding]:
    from daemon.engine.device import choose_device

    try:
        device = choose_device(settings.compute.device)
    except ValueError as error:
        yield Finding("compute device", is_good=False, found=str(error), hint="Set [compute] device to auto or cpu.")
        return
    yield Finding("compute device", is_good=True, found=f"{device}, {settings.compute.thread_count()} thread(s)")


_CHECKS: tuple[Callable[["Settings"], Iterator[Finding]], ...] = (
    _check_configuration,
    _check_roots,
    _check_writable,
    _check_bus,
    _check_store,
    _check_device,
)
