"""`elcano status`: how the running daemon and its sessions are."""

import json
from typing import TYPE_CHECKING, Any

from daemon.cli.control import pause_line
from daemon.cli.options import ConfigOption, JsonOption, answer_of, read_settings

if TYPE_CHECKING:
    from rich.console import Console

_MOST_WAITING = 20


def status(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show sessions, jobs, queues, latency, failures and what is passed over in the running daemon.

    Example: elcano status --json | jq .queues
    """
    data = answer_of(read_settings(config), "status", {})
    if as_json:
        print(json.dumps(data, indent=2))
    else:
        _show(data)


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
    for trouble in data["troubles"]:
        console.print(f"\nTROUBLE: {trouble['message']} {trouble['hint']}")
    for session in data["sessions"]:
        _show_session(console, session)
    for job in data["jobs"]:
        _show_job(console, job)
    queues = data["queues"]["scheduler"]
    console.print(
        f"\nqueue: {queues['waiting']} waiting, {queues['in_flight']} in work, {queues['delayed']} to be retried"
    )
    for pause in data["queues"]["paused"]:
        console.print(f"  {pause_line(pause)}")
    for movie in data["watching"][:_MOST_WAITING]:
        console.print(f"  {movie['path']}: {movie['reason']}")
    if len(data["watching"]) > _MOST_WAITING:
        console.print(f"  and {len(data['watching']) - _MOST_WAITING} more files not complete yet")
    _show_failures(console, data["failures"])
    _show_passed_over(console, data["passed_over"])


def _show_session(console: "Console", session: dict[str, Any]) -> None:
    movies = ", ".join(f"{count} {name}" for name, count in sorted(session["movies"].items())) or "no movies yet"
    console.print(f"\n{session['name']} ({session['state']}): {movies}")
    gates = session["gates"]
    if gates["refused"]:
        named = ", ".join(f"{count} by {gate}" for gate, count in sorted(gates["by_gate"].items()))
        console.print(f"  gates: {gates['passes']} pass, {gates['refused']} refused ({named})")
    late = session["latency"]
    if late:
        console.print(f"  last write to CTF: half within {late['p50_s']:.0f} s, 95 % within {late['p95_s']:.0f} s")


def _show_job(console: "Console", job: dict[str, Any]) -> None:
    from rich.table import Table

    console.print(f"\njob {job['kind']} of {job['session']}: {job['state']}")
    table = Table("step", "done", "running", "waiting", "failed", "skipped", box=None, pad_edge=False)
    for step, counts in job["steps"].items():
        shown = [counts.get(name, 0) for name in ("completed", "running", "pending", "failed", "skipped")]
        table.add_row(step, *(str(count) for count in shown))
    console.print(table)


def _show_failures(console: "Console", failures: dict[str, Any]) -> None:
    """Newest first; the rest is one query away."""
    shown = failures["latest"]
    if not shown:
        return
    rest = "" if failures["total"] == len(shown) else f", the latest {len(shown)}"
    console.print(f"\nfailed or quarantined: {failures['total']}{rest}")
    for failure in shown:
        what = failure["stage"] or "quarantined"
        hint = f" {failure['hint']}" if failure["hint"] else ""
        console.print(f"  {failure['session']} {failure['name'] or failure['id']} {what}: {failure['reason']}{hint}")
    console.print('  all: elcano query "SELECT * FROM failures"; again: elcano retry --session NAME')


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
