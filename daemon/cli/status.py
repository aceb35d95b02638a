"""`elcano status`: how the running daemon and its sessions are."""

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

from daemon.cli.control import pause_line
from daemon.cli.movie_counts import told_movies
from daemon.cli.options import ConfigOption, JsonOption, answer_of, read_settings_to_ask
from daemon.cli.tune import told_failed, told_waiting
from daemon.domain.names import spell_all

if TYPE_CHECKING:
    from rich.console import Console

_MOST_WAITING = 20
_MOST_CAUSES = 10
_MOST_NAMES = 5
_BY_HAND = "by hand"
"""Told among the gates where a person decided."""
_NAME = "\0"
"""Stands for the name of the movie where causes are compared."""


def status(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show what the running daemon does, and what is wrong.

    Sessions with latency and gates, jobs, queues, failures by cause, and what is passed over.

    Example: elcano status --json | jq .queues
    """
    data = answer_of(read_settings_to_ask(config), "status", {})
    if as_json:
        print(json.dumps(data, indent=2))
    else:
        _show(spell_all(data))


def _show(data: dict[str, Any]) -> None:
    import sys

    from rich.console import Console

    console = Console(markup=False, highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 10_000)
    bus = data["bus"]
    state = "connected" if bus["connected"] else f"not connected: {bus['problem']}"
    console.print(
        f"elcano {data['version']} on {data['host']} (process {data['pid']}, {data['device']}), "
        f"up {_duration(data['uptime_s'])}; NATS {bus['url']} {state}"
    )
    if data.get("preparing"):
        console.print(f"no movie is begun yet: {data['preparing']}")
    _show_troubles(console, data["troubles"])
    for session in data["sessions"]:
        _show_session(console, session)
    for job in data["jobs"]:
        _show_job(console, job)
    queues = data["queues"]["scheduler"]
    console.print(
        f"\nmovies in the queue: {queues['waiting']} waiting, {queues['in_flight']} in work, "
        f"{queues['delayed']} to be retried"
    )
    for pause in data["queues"]["paused"]:
        console.print(f"  {pause_line(pause)}")
    _show_unfinished(console, data["watching"])
    _show_failures(console, data["failures"])
    _show_notifications(console, data.get("notifications"))
    _show_not_imported(console, data["not_imported"])
    _show_passed_over(console, data["passed_over"])


def _show_troubles(console: "Console", troubles: list[dict[str, str]]) -> None:
    for trouble in troubles[:_MOST_WAITING]:
        console.print(f"\nTROUBLE since {_local_time(trouble['since'])}: {trouble['text']} {trouble['hint']}")
    if len(troubles) > _MOST_WAITING:
        console.print(f"\nTROUBLE: and {len(troubles) - _MOST_WAITING} more; --json lists them all")


def _local_time(utc: str) -> str:
    """Return when it was, on the clock of whoever reads it."""
    return datetime.fromisoformat(utc).astimezone().strftime("%d %b %H:%M")


def _show_session(console: "Console", session: dict[str, Any]) -> None:
    others = session.get("other_files", 0)
    counts = dict(session["movies"])
    if others:  # no movies by their names, as a session.json is: nobody asks how many were ignored of those
        counts["ignored"] -= others
        counts = {name: count for name, count in counts.items() if name != "ignored" or count}
    movies = told_movies(counts, session.get("partly_cancelled", 0)) or "no movies yet"
    beside = "" if not others else "; 1 other file" if others == 1 else f"; {others} other files"
    console.print(f"\n{session['name']} ({session['state']}): {movies}{beside}")
    gates = session["gates"]
    if gates["refused"] or gates["failed"] or gates.get("accepted_by_hand") or gates.get("waiting"):
        by_gate = dict(sorted(gates["by_gate"].items()))
        by_hand = by_gate.pop(_BY_HAND, 0)  # no gate's doing
        named = ", ".join(f"{count} by {gate}" for gate, count in by_gate.items())
        refused = f"{gates['refused'] - by_hand} refused" + (f" ({named})" if named else "")
        refused += f", {by_hand} rejected by hand" if by_hand else ""
        accepted = f" ({gates['accepted_by_hand']} by hand)" if gates.get("accepted_by_hand") else ""
        console.print(
            f"  gates: {gates['passes']} pass{accepted}, {refused}{told_failed(gates['failed'])}{told_waiting(gates)}"
        )
    late = session["latency"]
    if late:
        console.print(f"  last write to CTF: half within {late['p50_s']:.0f} s, 95 % within {late['p95_s']:.0f} s")
    for kind in session.get("left_alone", []):
        console.print(f"  {kind['said']}")
    for note in session["notes"]:
        console.print(f"  {note}")


def _show_job(console: "Console", job: dict[str, Any]) -> None:
    from rich.table import Table

    open_tasks = sum(counts.get(name, 0) for counts in job["steps"].values() for name in ("pending", "running"))
    is_idle = job["state"] == "running" and not open_tasks  # its session is open: more may come
    console.print(f"\njob {job['kind']} of {job['session']}: {'open, nothing to do' if is_idle else job['state']}")
    if not job["steps"]:
        return
    if job.get("left_alone"):
        console.print(f"  not counted: {job['left_alone']} task(s) of files that were superseded, vanished or ignored")
    columns = {
        "done": "completed",
        "running": "running",
        "waiting": "pending",
        "failed": "failed",
        "skipped": "skipped",
    }
    if any(counts.get("cancelled") for counts in job["steps"].values()):
        columns["cancelled"] = "cancelled"
    table = Table("step", *columns, box=None, pad_edge=False)
    for step, counts in job["steps"].items():
        shown = [counts.get(name, 0) for name in columns.values()]
        table.add_row(step, *(str(count) for count in shown))
    console.print(table)
    if "cancelled" in columns:
        console.print(f"  cancelled ones run again with: elcano retry --session {job['session']} --cancelled")


def _show_unfinished(console: "Console", movies: list[dict[str, Any]]) -> None:
    if not movies:
        return
    console.print(f"\nnot whole yet: {len(movies)} file(s)")
    for movie in movies[:_MOST_WAITING]:
        console.print(f"  {movie['path']}: {movie['reason']}")
    if len(movies) > _MOST_WAITING:
        console.print(f"  and {len(movies) - _MOST_WAITING} more")


def _show_failures(console: "Console", failures: dict[str, Any]) -> None:
    """Each cause once with the movies it struck, newest first; the rest is one query away."""
    shown = failures["latest"]
    if not shown:
        return
    rest = "" if failures["total"] == len(shown) else f", the latest {len(shown)}"
    console.print(f"\nfailed or quarantined: {failures['total']}{rest}")
    causes = _group_by_cause(shown)
    for (session, stage, reason, hint), names in causes[:_MOST_CAUSES]:
        whom = names[0] if len(names) == 1 else f"{len(names)} movies"
        said = " ".join(filter(None, (reason.replace(_NAME, names[0]), hint.replace(_NAME, names[0]))))
        console.print(f"  {session} {whom} {stage or 'quarantined'}: {said}")
        if len(names) > 1:
            more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
            console.print(f"    {', '.join(names[:_MOST_NAMES])}{more}")
    if len(causes) > _MOST_CAUSES:
        console.print(f"  and {len(causes) - _MOST_CAUSES} more causes")
    console.print('  all: elcano query "SELECT * FROM failures"; again: elcano retry --session NAME')


def _group_by_cause(failures: list[dict[str, Any]]) -> list[tuple[tuple[str, str, str, str], list[str]]]:
    """Put together what differs in nothing but the movie that the words name."""
    causes: dict[tuple[str, str, str, str], list[str]] = {}
    for failure in failures:
        name = failure["name"] or failure["id"]
        reason, hint = (failure[key].replace(name, _NAME) for key in ("reason", "hint"))
        causes.setdefault((failure["session"], failure["stage"], reason, hint), []).append(name)
    return list(causes.items())


def _show_notifications(console: "Console", kept: dict[str, Any] | None) -> None:
    """The latest that people were told, newest first; a session's failures are no part of it."""
    if not kept or not kept["latest"]:
        return
    shown = kept["latest"]
    rest = "" if kept["total"] == len(shown) else f", the latest {len(shown)}"
    console.print(f"\nnotifications: {kept['total']}{rest}")
    for told in shown:
        at = datetime.fromtimestamp(told["raised_at_s"]).astimezone().strftime("%d %b %H:%M")
        said = " ".join(filter(None, (told["session"], told["severity"])))
        console.print(f"  {at} {said}: {' '.join(filter(None, (told['message'], told['hint'])))}")
    if rest:
        console.print('  all: elcano query "SELECT * FROM notification ORDER BY raised_at DESC"')


def _show_not_imported(console: "Console", sessions: list[dict[str, str]]) -> None:
    if not sessions:
        return
    console.print(f"\ncould not be imported: {len(sessions)} session(s)")
    for session in sessions:
        is_named = session["directory"] in session["reason"]
        where = "" if is_named else f"{session['directory']}: "
        console.print(f"  {where}{session['reason']}")


def _show_passed_over(console: "Console", folders: list[str]) -> None:
    if not folders:
        return
    console.print(f"\npassed over: {len(folders)} folder(s) with movies and no session.json")
    for folder in folders[:_MOST_WAITING]:
        console.print(f"  {folder}: elcano import {folder}, or a [[session]] entry, or put a session.json in it")
    if len(folders) > _MOST_WAITING:
        console.print(f"  and {len(folders) - _MOST_WAITING} more")


def _duration(seconds: float) -> str:
    days, rest = divmod(int(seconds), 86400)
    hours, rest = divmod(rest, 3600)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {rest // 60} min" if hours else f"{rest // 60} min"
