"""How a node is: words for what its heartbeat tells, and for whether it keeps up."""

from collections.abc import Sequence

from daemon.messages.event_data import NodeHeartbeat
from daemon.messages.live import DiskLoad, LatencyWindow, Outlook, StepPace
from tui.core.spans import count_of, show_bytes, show_span
from tui.core.states import Tone
from tui.core.text import show_line

STALE_S = 45.0
"""Three heartbeats."""
_SOON_S = 86_400.0
Words = list[tuple[str, Tone]]


def age_s(beat: NodeHeartbeat, now_s: float) -> float:
    """Return how old a heartbeat is."""
    return max(0.0, now_s - beat.ts.timestamp())


def is_stale(beat: NodeHeartbeat, now_s: float) -> bool:
    """Whether a node has been silent for too long."""
    return age_s(beat, now_s) > STALE_S


def show_wait(seconds: float | None) -> str:
    """A latency: tenths below ten seconds."""
    return f"{seconds:.1f} s" if seconds is not None and seconds < 10 else show_span(seconds)


def show_window(seconds: float) -> str:
    """A time that is looked back on: whole minutes or hours."""
    return f"{seconds / 60:.0f} min" if seconds < 3600 else f"{seconds / 3600:g} h"


def verdict_words(outlook: Outlook) -> Words:
    """Whether the node keeps up, in one line; empty where nothing was processed and nothing waits."""
    if outlook.is_behind:
        return [("⚠ falling behind: ", "warning"), (_cause(outlook), "strong")]
    if outlook.backlog == 0 and outlook.capacity_per_hour is None:
        return []
    return [("✓ keeping up", "done")]


def forecast_words(outlook: Outlook) -> str:
    """What comes of it, in a sentence; empty where it cannot be told."""
    parts = []
    if outlook.capacity_per_hour is not None and outlook.kind not in {"pause", "disk"}:
        parts.append(f"it can do {outlook.capacity_per_hour:.0f} movies/h, {outlook.arriving_per_hour:.0f}/h arrive")
    if outlook.caught_up_in_s is not None and outlook.backlog:
        parts.append(f"caught up in {show_span(outlook.caught_up_in_s)}")
    elif outlook.backlog_in_1h is not None and outlook.is_behind:
        wait = f", {show_span(outlook.wait_in_1h_s)} each" if outlook.wait_in_1h_s is not None else ""
        parts.append(f"in 1 h {outlook.backlog_in_1h} wait{wait}")
    return "; ".join(parts)


def banner_words(beats: Sequence[NodeHeartbeat], now_s: float) -> list[Words]:
    """Lines that nobody may overlook: nodes that fall behind, and disks that are full within a day."""
    lines: list[Words] = []
    for beat in beats:
        if is_stale(beat, now_s):
            continue
        if beat.outlook is not None and beat.outlook.is_behind and beat.outlook.kind != "pause":  # told as a pause
            forecast = forecast_words(beat.outlook)
            words = f"{_cause(beat.outlook)}{f'; {forecast}' if forecast else ''}"
            lines.append([(f" ⚠ {show_line(beat.host, 40)} falls behind: {show_line(words, 250)}", "warning")])
        lines += [
            [(f" ⚠ {show_line(beat.host, 40)}: {show_line(_disk_trouble(disk), 250)}", "warning")]
            for disk in _apart(beat.disks)
            if disk.trouble or (disk.full_in_s is not None and disk.full_in_s < _SOON_S)
        ]
    return lines


def disk_words(disk: DiskLoad) -> Words:
    """Free space, and how long it lasts."""
    if disk.trouble:
        return [(f"✗ {show_line(disk.trouble, 120)}", "failed")]
    share = 100 * (disk.free_bytes or 0) / disk.total_bytes if disk.total_bytes else 0
    words: Words = [(f"{show_bytes(disk.free_bytes)} free of {show_bytes(disk.total_bytes)} ({share:.0f} %)", "plain")]
    if disk.full_in_s == 0:
        words.append(("  ✗ at its reserve: no movie is begun", "failed"))
    elif disk.full_in_s is not None:
        tone: Tone = "warning" if disk.full_in_s < _SOON_S else "plain"
        words.append((f"  {'⚠ ' if tone == 'warning' else ''}full in {show_span(disk.full_in_s)}", tone))
    else:
        words.append(("  not filling", "dim"))
    return words


def latency_words(window: LatencyWindow) -> list[str]:
    """Cells of a row: window, p50, p95, p99, how many."""
    name = f"last {show_window(window.window_s)}"
    if not window.count:
        return [name, "–", "–", "–", "none"]
    return [name, *(show_wait(value) for value in (window.p50_s, window.p95_s, window.p99_s)), str(window.count)]


def step_words(step: StepPace) -> list[str]:
    """Cells of a row: name, seconds a movie, compared with before, how busy, how many lately."""
    times = step.seconds_per_movie / step.usual_s if step.seconds_per_movie and step.usual_s else None
    compared = "–" if times is None else "as before" if 0.8 <= times <= 1.25 else f"now {times:.1f}× as long"
    return [step.name, show_wait(step.seconds_per_movie), compared, f"{step.busy_percent:.0f} %", str(step.count)]


def _cause(outlook: Outlook) -> str:
    if outlook.kind in {"pause", "disk"}:
        return outlook.bottleneck
    if not outlook.bottleneck:
        return f"{count_of(outlook.backlog, 'movie')} wait and none was processed yet"
    words = f"{outlook.bottleneck} is the bottleneck"
    if outlook.seconds_per_movie is not None:
        words += f" at {show_wait(outlook.seconds_per_movie)} a movie"
    if outlook.times_usual is not None and outlook.times_usual >= 1.5:
        words += f", {outlook.times_usual:.1f}× as long as before"
    return f"{words}; {count_of(outlook.backlog, 'movie')} wait"


def _apart(disks: Sequence[DiskLoad]) -> list[DiskLoad]:
    """Leave out places that lie on the file system of an earlier one: of the same size to the byte."""
    seen: set[int] = set()
    apart = []
    for disk in disks:
        if disk.total_bytes is None or disk.total_bytes not in seen:
            apart.append(disk)
        seen |= {disk.total_bytes} if disk.total_bytes is not None else set()
    return apart


def _disk_trouble(disk: DiskLoad) -> str:
    if disk.trouble:
        return f"{disk.path} ({disk.what}): {disk.trouble}"
    if disk.full_in_s == 0:
        return f"{disk.path} is at its reserve, {show_bytes(disk.free_bytes)} free: no movie is begun"
    return f"{disk.path} is full in {show_span(disk.full_in_s)}, {show_bytes(disk.free_bytes)} free"
