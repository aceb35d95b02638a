"""Does this node see what a daemon sees? Asked over NATS, answered through both nodes' own mounts."""

import contextlib
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from daemon.errors import ElcanoError, FileNotWritten
from daemon.sessions.mount_proof import (
    PATIENCE_S,
    MountProof,
    Nonce,
    Pause,
    RootFacts,
    await_nonce,
    look_at_root,
    nonce_path,
)

Ask = Callable[[str, dict[str, Any]], Any]
"""Asks the daemon a query and returns its data; raises ElcanoError."""

_LOOK_AGAIN_S = 2.0
_MOST_NAMED = 5
_HINT = "Mount the same file system at the same path on both nodes; until then neither can use the other's paths."


@dataclass(frozen=True)
class Verdict:
    """One thing compared: ok = the same, warn = not tried, fail = not the same; what was found, what to do."""

    status: Literal["ok", "warn", "fail"]
    found: str
    hint: str = ""


class DaemonView(msgspec.Struct, frozen=True, kw_only=True):
    """What a daemon answers to `mount.proof`."""

    host: str
    home: str
    proof: Nonce | None = None
    trouble: str = ""
    roots: list[RootFacts] = []


class DaemonSight(msgspec.Struct, frozen=True, kw_only=True):
    """What a daemon answers to `mount.prove`: whether it saw the nonce, and what was there if not."""

    seen: bool
    path: str
    found: str = ""


def check_mounts(
    home: Path, roots: Sequence[Path], ask: Ask, *, host: str, pause: Pause = time.sleep, patience_s: float = PATIENCE_S
) -> Iterator[Verdict]:
    """Compare home and watched roots with those of the daemon that `ask` reaches. Raises what `ask` raises."""
    there = msgspec.convert(ask("mount.proof", {}), DaemonView)
    if str(home) != there.home:
        found = f"home is {home} on {host}, but {there.home} for the daemon on {there.host}"
        yield Verdict("fail", found, "Give [paths] home the same path on both nodes.")
    yield _read_theirs(home, there, host, pause, patience_s)
    yield _let_them_read(home, there, ask, host)
    wanted = {facts.path: facts for facts in there.roots}
    for root in roots:
        yield _compare_root(root, wanted.get(str(root)), there.host, ask, host, pause, patience_s)


def _read_theirs(home: Path, there: DaemonView, host: str, pause: Pause, patience_s: float) -> Verdict:
    """Look here for the daemon's nonce."""
    if there.proof is None:
        return Verdict("fail", f"the daemon on {there.host} has no proof: {there.trouble}")
    path = nonce_path(home, there.proof.file)
    try:
        instead = await_nonce(path, there.proof.nonce, pause=pause, patience_s=patience_s)
    except ElcanoError as error:
        return Verdict("fail", error.message, error.hint)
    if instead is not None:
        written = nonce_path(Path(there.home), there.proof.file)
        found = f"the daemon on {there.host} wrote {written}, {host} finds {instead} at {path}"
        return Verdict("fail", found, _HINT)
    return Verdict("ok", f"{home} is what the daemon on {there.host} sees")


def _let_them_read(home: Path, there: DaemonView, ask: Ask, host: str) -> Verdict:
    """Leave a nonce here for the daemon to find."""
    mine = MountProof(home, f"doctor-{host}-{secrets.token_hex(4)}", host)
    try:
        nonce = mine.renew(time.time())
    except FileNotWritten as error:
        found = f"not tried from here to the daemon: {error.message}"
        return Verdict("warn", found, "Run as the user of the daemon.")
    except ElcanoError as error:
        return Verdict("fail", error.message, error.hint)
    path = nonce_path(home, nonce.file)
    try:
        sight = msgspec.convert(ask("mount.prove", {"file": nonce.file, "nonce": nonce.nonce}), DaemonSight)
    finally:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
    if not sight.seen:
        found = f"{host} wrote {path}, the daemon on {there.host} finds {sight.found} at {sight.path}"
        return Verdict("fail", found, _HINT)
    return Verdict("ok", f"the daemon on {there.host} sees what {host} writes to {home}")


def _compare_root(
    root: Path, theirs: RootFacts | None, their_host: str, ask: Ask, host: str, pause: Pause, patience_s: float
) -> Verdict:
    """Compare what both see in a watched root, again for a while: a microscope may be writing at this moment."""
    waited_s = 0.0
    while True:
        if theirs is None:
            found = f"{root} is watched by this configuration, but not by the daemon on {their_host}"
            return Verdict("fail", found, "Use one config.toml on both nodes.")
        ours = look_at_root(root)
        if ours.trouble and theirs.trouble:
            found = f"{root} cannot be compared: {ours.trouble} on {host}, {theirs.trouble} on {their_host}"
            return Verdict("warn", found, "Let the user that runs elcano read it.")
        if not ours.trouble and not theirs.trouble and not ours.differs_from(theirs):
            return Verdict("ok", _same_words(root, ours, theirs, their_host))
        if waited_s >= patience_s:
            break
        pause(_LOOK_AGAIN_S)
        waited_s += _LOOK_AGAIN_S
        again = msgspec.convert(ask("mount.proof", {}), DaemonView)
        theirs = next((facts for facts in again.roots if facts.path == str(root)), None)
    found = f"{root} shows {_words(ours)} on {host}, {_words(theirs)} to the daemon on {their_host}"
    return Verdict("fail", found, _HINT)


def _same_words(root: Path, ours: RootFacts, theirs: RootFacts, their_host: str) -> str:
    if not ours.entries:
        return f"{root} is empty on both nodes"
    closed = sorted({*ours.unread, *theirs.unread})
    more = f" and {len(closed) - _MOST_NAMED} more" if len(closed) > _MOST_NAMED else ""
    left = f"; not compared, as it cannot be read: {', '.join(closed[:_MOST_NAMED])}{more}" if closed else ""
    return f"{root} shows the same {ours.entries} names as on {their_host}{left}"


def _words(facts: RootFacts) -> str:
    return facts.trouble or f"{facts.entries} names (digest {facts.digest[:8]})"
