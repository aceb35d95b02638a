"""The lines of the live screen: sections, side by side where there is room."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import Any

from daemon.messages.event_data import NodeHeartbeat
from daemon.messages.live import LiveAnswer, Outlook
from tui.core.load import (
    age_s,
    disk_words,
    forecast_words,
    is_stale,
    latency_words,
    show_wait,
    show_window,
    step_words,
    verdict_words,
)
from tui.core.plot import show_spark
from tui.core.spans import count_of, show_bytes, show_span
from tui.core.states import Tone
from tui.core.text import show_end, show_line

Line = list[tuple[str, Tone]]
_TWO_COLUMNS = 120
_PATH = 45
_VERDICT = 56


@dataclass(frozen=True)
class Section:
    """Lines under a title."""

    title: str
    lines: Sequence[Line]

    def drawn(self) -> list[Line]:
        """Return title, lines, and an empty line."""
        return [[(self.title, "strong")], *([("  ", "plain"), *line] for line in self.lines), []]


def live_sections(told: LiveAnswer, width: int, stood: str = "") -> list[Section]:
    """What the daemon says of how it keeps up; `stood` is the time of day that this was so, once it cannot be asked."""
    room = width // 2 - 2 if width >= _TWO_COLUMNS else width
    return [
        _outlook_section(told.outlook, told.unproven, stood),
        _rate_section(told, max(10, room - 34)),
        Section(
            "file closed → CTF",
            table(("", "p50", "p95", "p99", "movies"), [latency_words(window) for window in told.latency]),
        ),
        Section(
            "steps, in the last 5 min",
            table(("", "a movie", "before", "busy", "done"), [step_words(step) for step in told.steps])
            if told.steps
            else [[("nothing was processed since the daemon began", "dim")]],
        ),
        _watcher_section(told),
    ]


def queue_section(queues: Mapping[str, Any]) -> Section:
    """Depths of what can fill up, and what is paused."""
    lines: list[Line] = []
    scheduler, budget = queues.get("scheduler"), queues.get("byte_budget")
    if scheduler:
        words = (
            f"{scheduler['waiting']} waiting, {scheduler['in_flight']} in work, {scheduler['delayed']} to be retried"
        )
        lines.append([(words, "plain")])
    if budget:
        held = f"{show_bytes(budget['reserved_bytes'])} of {show_bytes(budget['total_bytes'])} for movies in work"
        waits = ""
        if budget["waiting"]:
            waits = f", {count_of(budget['waiting'], 'movie')} wait{'s' if budget['waiting'] == 1 else ''} for memory"
        lines.append([(held, "plain"), (waits, "warning")])
    for pause in queues.get("paused", ()):
        what = " of ".join(word for word in (pause["stage"], pause["session"]) if word) or "the node"
        lines.append([(f"‖ paused: {show_line(what, 60)} by {show_line(pause['asked_by'], 60)}", "warning")])
    return Section("queues", lines or [[("asking…", "dim")]])


def node_sections(beats: Sequence[NodeHeartbeat], now_s: float) -> list[Section]:
    """Load and disks of every node."""
    if not beats:
        return [Section("nodes", [[("no heartbeat yet: one comes every 15 s", "dim")]])]
    return [Section(f"node {show_line(beat.host, 40)}", node_lines(beat, now_s)) for beat in beats]


def node_lines(beat: NodeHeartbeat, now_s: float) -> list[Line]:
    """Load, devices and disks of a node."""
    lines: list[Line] = []
    if is_stale(beat, now_s):
        lines.append([(f"⚠ silent for {show_span(age_s(beat, now_s))}: what follows stood then", "warning")])
    cpu = "–" if beat.cpu_percent is None else f"{beat.cpu_percent:.0f} %"
    lines.append([(f"CPU {cpu} of a core, memory {show_bytes(beat.memory_used_bytes)}", "plain")])
    for device in beat.devices:
        busy = "" if device.utilisation_percent is None else f" computes {device.utilisation_percent:.0f} % of the time"
        memory = ""
        if device.memory_total_bytes is not None:
            memory = f", {show_bytes(device.memory_used_bytes)} of {show_bytes(device.memory_total_bytes)}"
        lines.append([(f"{show_line(device.name, 60)}{busy}{memory}", "plain")])
    width = max((len(disk.what) for disk in beat.disks), default=0)
    for disk in beat.disks:
        lines.append([(f"{disk.what:<{width}}  ", "dim"), *disk_words(disk)])
        lines.append([(f"{'':<{width}}  {show_end(disk.path, _PATH)}", "dim")])
    return lines


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[Line]:
    """Set cells in columns, the first to the left, the others to the right."""
    widths = [max(len(row[at]) for row in [titles, *rows]) for at in range(len(titles))]

    def line(cells: Sequence[str], tone: Tone) -> Line:
        first, *rest = [
            f"{cell:<{width}}" if at == 0 else f"{cell:>{width}}"
            for at, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return [("   ".join([first, *rest]), tone)]

    return [line(titles, "dim"), *(line(row, "plain") for row in rows)]


def lay_out(sections: Sequence[Section], width: int) -> list[Line]:
    """Set sections one below the other, or in two columns where there is room."""
    if width < _TWO_COLUMNS:
        return [[(" ", "plain"), *line] for section in sections for line in section.drawn()]
    half = width // 2 - 1
    drawn = [section.drawn() for section in sections]
    whole = sum(len(lines) for lines in drawn)
    left: list[Line] = []
    right: list[Line] = []
    for lines in drawn:
        (left if len(left) + len(lines) // 2 <= whole // 2 and not right else right).extend(lines)
    rows = max(len(left), len(right))
    left += [[] for _ in range(rows - len(left))]
    right += [[] for _ in range(rows - len(right))]
    return [[(" ", "plain"), *_pad(one, half), *other] for one, other in zip(left, right, strict=True)]


def _pad(line: Line, width: int) -> Line:
    """Bring a line to a width."""
    padded: Line = []
    left = width
    for text, tone in line:
        shown = text if len(text) <= left else f"{text[: left - 1]}…" if left > 0 else ""
        padded.append((shown, tone))
        left -= len(shown)
    return [*padded, (" " * left, "plain")]


def _wrapped(verdict: Line) -> list[Line]:
    """Break what falls behind, and why, into lines that the narrower of two columns has room for."""
    *head, (cause, tone) = verdict
    first, *rest = wrap(cause, _VERDICT) or [""]
    return [[*head, (first, tone)], *([("  ", "plain"), (words, tone)] for words in rest)]


def _outlook_section(outlook: Outlook, unproven: int, stood: str) -> Section:
    lines: list[Line] = []
    verdict = verdict_words(outlook)
    if stood:
        lines.append([(f"? not known now: these figures are of {stood}", "warning")])
    elif verdict:
        lines += _wrapped(verdict)
    forecast = forecast_words(outlook)
    if forecast:
        lines.append([(forecast, "plain")])
    waits = f"backlog {count_of(outlook.backlog, 'movie')}"
    not_whole = f", {unproven} more not whole yet" if unproven else ""
    lines.append([(f"{waits}{not_whole}", "plain")])
    if outlook.bottleneck and not outlook.is_behind:
        takes = f" ({show_wait(outlook.seconds_per_movie)})" if outlook.seconds_per_movie is not None else ""
        lines.append([(f"most of a movie's time goes into {outlook.bottleneck}{takes}", "dim")])
    return Section("keeping up", lines)


def _rate_section(told: LiveAnswer, width: int) -> Section:
    hours = told.window_s / 3600
    lines: list[Line] = []
    flows = [("seen", told.seen, "running"), ("processed", told.processed, "done")]
    flows += [("✗ failed", told.failed, "failed")] if any(told.failed) else []
    for name, counts, tone in flows:
        total = sum(counts)
        lines.append(
            [
                (f"{name:<10}", "plain"),
                (show_spark(counts, width), tone),  # type: ignore[list-item]
                (f"  {total / hours:.0f}/h", "strong"),
                (f"  {total} in all", "dim"),
            ]
        )
    return Section(f"movies, last {show_window(told.window_s)}", lines)


def _watcher_section(told: LiveAnswer) -> Section:
    lag = told.watcher
    if not lag.count:
        return Section("watcher lag", [[("no movie was written lately, while its session was watched", "dim")]])
    rows = [
        ("until seen", show_wait(lag.seen_p50_s), show_wait(lag.seen_p95_s)),
        ("until proven whole", show_wait(lag.proven_p50_s), show_wait(lag.proven_p95_s)),
    ]
    return Section(
        f"watcher lag, from the last write ({count_of(lag.count, 'movie')})", table(("", "p50", "p95"), rows)
    )
