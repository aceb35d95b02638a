"""Times, sizes and rates in a few characters."""

from datetime import datetime


def show_span(seconds: float | None) -> str:
    """A duration: `42 s`, `7 min`, `3 h 05`, `2 d 4 h`; a dash where it is not known."""
    if seconds is None:
        return "–"
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes = whole // 60
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d}" if hours < 24 else f"{hours // 24} d {hours % 24} h"


def show_moment(at_s: float | None, now_s: float) -> str:
    """A moment on this machine's clock: the time today, else with the day."""
    if at_s is None:
        return "–"
    moment = datetime.fromtimestamp(at_s).astimezone()
    today = datetime.fromtimestamp(now_s).astimezone()
    return moment.strftime("%H:%M:%S" if moment.date() == today.date() else "%m-%d %H:%M")


def show_rate(per_second: float | None) -> str:
    """Movies an hour."""
    if per_second is None:
        return "–"
    per_hour = 3600 * per_second
    return f"{per_hour:.0f}" if per_hour >= 10 else f"{per_hour:.1f}"


def show_bytes(count: float | None) -> str:
    """A size in binary units."""
    if count is None:
        return "–"
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def show_number(value: object) -> str:
    """A metric: numbers to five digits, yes and no, a dash for what is not known."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def count_of(count: int, noun: str) -> str:
    """A number with its noun: `1 task`, `2 tasks`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
