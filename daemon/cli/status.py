"""`elcano status`: how the running daemon and its sessions are."""

import json
from typing import Any

from daemon.cli.options import ConfigOption, JsonOption, answer_of, read_settings


def status(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show sessions, jobs, stages, queues and latency of the running daemon.

    Example: elcano status --json | jq .queues
    """
    data = answer_of(read_settings(config), "status", {})
    if as_json:
        print(json.dumps(data, indent=2))
    else:
        _show(data)


def _show(data: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    bus = data["bus"]
    state = "connected" if bus["connected"] else f"not connected: {bus['problem']}"
    console.print(
        f"elcano {data['version']} on {data['host']}, up {data['uptime_s'] / 60:.0f} min; NATS {bus['url']} {state}",
        highlight=False,
    )
    for session in data["sessions"]:
        movies = ", ".join(f"{count} {name}" for name, count in sorted(session["movies"].items())) or "no movies yet"
        console.print(f"\n{session['name']} ({session['state']}): {movies}", markup=False, highlight=False)
        if session["latency"]:
            late = session["latency"]
            console.print(
                f"  last write to CTF: half within {late['p50_s']:.0f} s, 95 % within {late['p95_s']:.0f} s",
                highlight=False,
            )
    for job in data["jobs"]:
        console.print(f"\njob {job['kind']} of {job['session']}: {job['state']}", markup=False, highlight=False)
        table = Table("step", "done", "running", "waiting", "failed", "skipped", box=None, pad_edge=False)
        for step, counts in job["steps"].items():
            shown = [counts.get(name, 0) for name in ("completed", "running", "pending", "failed", "skipped")]
            table.add_row(step, *(str(count) for count in shown))
        console.print(table)
    queues = data["queues"]["scheduler"]
    console.print(
        f"\nqueue: {queues['waiting']} waiting, {queues['in_flight']} in work, {queues['delayed']} to be retried",
        highlight=False,
    )
    for movie in data["watching"][:20]:
        console.print(f"  {movie['path']}: {movie['reason']}", markup=False, highlight=False)
    if len(data["watching"]) > 20:
        console.print(f"  and {len(data['watching']) - 20} more files not complete yet")
