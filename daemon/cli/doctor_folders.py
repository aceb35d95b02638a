"""What `elcano doctor` looks at in folders: raw data, home, state, and the sessions that lie there."""

import os
import shlex
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.cli.findings import LOOK_LIMIT_S, SEARCH_LIMIT_S, Finding, Inspection, Look, look_patiently

if TYPE_CHECKING:
    from daemon.config.schema import Settings

_LEAST_STATE_GIB = 0.1
_USUAL_STATE_GIB = 2.0
_LARGEST_SKEW_S = 2.0
_MOST_SHOWN = 20


def check_roots(inspection: Inspection) -> Iterator[Finding]:
    """Look into every folder that raw data come from, all at once."""
    settings = inspection.settings
    raw = [("watched root", root) for root in settings.watched_roots]
    raw += [("session directory", entry.directory) for entry in settings.sessions]
    looks = [Look(what, folder, partial(_look_at_raw, what, folder)) for what, folder in raw]
    yield from look_patiently(inspection, looks, limit_s=LOOK_LIMIT_S)


def _look_at_raw(what: str, folder: Path) -> Iterator[Finding]:
    from daemon.watchers.mounts import find_mount

    try:
        with os.scandir(folder) as entries:
            next(entries, None)
    except FileNotFoundError:
        yield Finding(what, "fail", f"{folder} is not there", "Mount or make it, or correct the configuration.")
        return
    except OSError as error:
        said = error.strerror or str(error)
        yield Finding(what, "fail", f"{folder}: {said}", "Let the user that runs elcano read it.")
        return
    mount = find_mount(folder)
    if mount is None:
        kind = "file system unknown: polled"
    elif mount.is_local:
        kind = f"{mount.file_system}, local: the kernel tells of new files"
    else:
        kind = f"{mount.file_system}, network: polled"
    yield Finding(what, "ok", f"{folder} ({kind})")


def check_places(inspection: Inspection) -> Iterator[Finding]:
    """Can home and state be written, is there room, and who else may read them?"""
    settings = inspection.settings
    looks = [Look("home", settings.paths.home, partial(_look_at_home, settings))]
    looks.append(Look("state", settings.state, partial(_look_at_state, settings)))
    yield from look_patiently(inspection, looks, limit_s=LOOK_LIMIT_S)


def _look_at_home(settings: "Settings") -> Iterator[Finding]:
    reserve_gib = settings.limits.disk_reserve_gib
    yield _look_at_room("home", settings.paths.home, reserve_gib, reserve_gib)


def _look_at_state(settings: "Settings") -> Iterator[Finding]:
    from daemon.watchers.mounts import find_mount

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


def check_file_times(inspection: Inspection) -> Iterator[Finding]:
    """Does the file server have the same time as this machine?"""
    home = inspection.settings.paths.home
    if home not in inspection.unanswered:
        yield from look_patiently(
            inspection, [Look("clock", home, partial(_look_at_times, home))], limit_s=LOOK_LIMIT_S
        )


def _look_at_times(home: Path) -> Iterator[Finding]:
    if home.is_dir() and os.access(home, os.W_OK | os.X_OK):
        skew_s = file_time_skew_s(home)
        found = f"file times in {home} differ by {abs(skew_s):.1f} s from this machine's clock"
        hint = "Synchronise the clocks of this machine and of the file server."
        yield Finding("clock", "ok" if abs(skew_s) <= _LARGEST_SKEW_S else "warn", found, hint)


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


def check_sessions(inspection: Inspection) -> Iterator[Finding]:
    """Name folders with movies that belong to no session: as the daemon says; without one, as it would."""
    if inspection.daemon is not None:
        yield _tell_passed_over(list(inspection.daemon["passed_over"]))
        return
    settings = inspection.settings
    allowed = _answering(inspection, settings.allowed_roots)
    for root in _answering(inspection, settings.watched_roots):
        look = Look("passed over", root, partial(_look_for_passed_over, settings, root, allowed))
        yield from look_patiently(inspection, [look], limit_s=SEARCH_LIMIT_S)


def _look_for_passed_over(settings: "Settings", root: Path, allowed: Sequence[Path]) -> Iterator[Finding]:
    from daemon.config.places import REAL_PLACES
    from daemon.watchers.outside import find_outside

    if not root.is_dir():
        return  # the look at the folders has told it
    named = tuple(REAL_PLACES.real_paths(entry.directory for entry in settings.sessions).values())
    known = _stored_directories(settings)
    outside = find_outside([root], allowed, settings.watch.pattern, known, named=named)
    for folder, why in outside.not_watched.items():
        hint = "Let the user that runs elcano read it, or mend its name."
        yield Finding("passed over", "fail", f"{folder} {why}", hint)
    if outside.passed_over or not outside.not_watched:
        yield _tell_passed_over([str(folder) for folder in outside.passed_over])


def _tell_passed_over(folders: Sequence[str]) -> Finding:
    if not folders:
        return Finding("passed over", "ok", "no folder that can be read has movies and no session.json")
    rest = len(folders) - _MOST_SHOWN
    listed = ", ".join(folders[:_MOST_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
    hint = "elcano import DIR, or a [[session]] entry, or a session.json in each takes them up."
    return Finding("passed over", "warn", f"movies but no session.json in {listed}", hint)


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


def check_imports(inspection: Inspection) -> Iterator[Finding]:
    """Name sessions that a running daemon could not import; without one, those whose session.json it could not read."""
    if inspection.daemon is not None:
        for session in inspection.daemon["not_imported"]:
            yield Finding("session", "fail", f"{session['directory']} could not be imported: {session['reason']}")
        return
    allowed = _answering(inspection, inspection.settings.allowed_roots)
    for root in _answering(inspection, inspection.settings.watched_roots):
        look = Look("session", root, partial(_look_at_manifests, root, allowed))
        yield from look_patiently(inspection, [look], limit_s=SEARCH_LIMIT_S)


def check_troubles(inspection: Inspection) -> Iterator[Finding]:
    """Name what holds up a running daemon, or hides movies from it."""
    troubles = [] if inspection.daemon is None else inspection.daemon["troubles"]
    for trouble in troubles[:_MOST_SHOWN]:
        since = datetime.fromisoformat(trouble["since"]).astimezone()
        yield Finding("trouble", "fail", f"since {since:%d %b %H:%M}: {trouble['text']}", trouble["hint"])
    if len(troubles) > _MOST_SHOWN:
        yield Finding(
            "trouble", "fail", f"and {len(troubles) - _MOST_SHOWN} more", "elcano status --json has them all."
        )


def _look_at_manifests(root: Path, allowed: Sequence[Path]) -> Iterator[Finding]:
    from daemon.errors import ElcanoError
    from daemon.sessions.manifest import FILE_NAME, read_manifest
    from daemon.sessions.roots import resolve_under

    for manifest in sorted(root.glob(f"[!.]*/{FILE_NAME}")):
        try:
            read_manifest(resolve_under(manifest, allowed))
        except ElcanoError as error:
            yield Finding("session", "fail", error.message, error.hint)


def _answering(inspection: Inspection, folders: Sequence[Path]) -> tuple[Path, ...]:
    return tuple(folder for folder in folders if folder not in inspection.unanswered)
