"""HTML put together from text that may come from anywhere: whatever is not markup of ours is escaped here."""

import html
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any

_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_LONGEST = 2000


@dataclass(frozen=True)
class Html:
    """Text that is markup already; nothing else is put into the page as it is."""

    text: str

    def __str__(self) -> str:
        return self.text


Content = Html | str | int | float | None


def escape(value: Content, longest: int = _LONGEST) -> str:
    """Return a value as text of the page. Characters that are not seen, or turn others around, are shown by code."""
    if value is None:
        return ""
    if isinstance(value, Html):
        return value.text
    text = str(value)
    if len(text) > longest:
        text = f"{text[:longest]} … ({len(text) - longest} more characters)"
    return html.escape(show_hidden(text))


def show_hidden(text: str) -> str:
    """Return text in which characters that are not seen, or turn others around, are shown by code."""
    return "".join(character if _is_seen(character) else _show(character) for character in text)


def _is_seen(character: str) -> bool:
    return " " <= character <= "~" or unicodedata.category(character) not in _UNSEEN


def _show(character: str) -> str:
    code = ord(character)
    if code == 0x0A:
        return " ⏎ "
    return chr(0x2400 + code) if code < 0x20 else f"⟨U+{code:04X}⟩"


def join(parts: Iterable[Content], between: str = "") -> Html:
    """Put parts one after the other, each escaped unless it is markup."""
    return Html(between.join(escape(part) for part in parts))


def tag(name: str, *content: Content, **attributes: Content) -> Html:
    """Return an element; `class_` and the like lose their underscore, others turn into hyphens."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value, 10**7)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Html(f"<{name}{written}>{''.join(escape(part) for part in content)}</{name}>")


def paragraph(*content: Content, class_: str | None = None) -> Html:
    """Return a paragraph."""
    return tag("p", *content, class_=class_)


def bullets(items: Iterable[Content]) -> Html:
    """Return a list."""
    return tag("ul", *(tag("li", item) for item in items))


def table(headings: Sequence[str], rows: Iterable[Sequence[Content]], *, class_: str | None = None) -> Html:
    """Return a table; columns whose heading begins with # hold numbers. It scrolls by itself where it is too wide."""
    numeric = [heading.startswith("#") for heading in headings]
    head = tag(
        "tr",
        *(
            tag("th", heading.removeprefix("#"), scope="col", class_="n" if is_number else None)
            for heading, is_number in zip(headings, numeric, strict=True)
        ),
    )
    body = [
        tag(
            "tr",
            *(tag("td", cell, class_="n" if is_number else None) for cell, is_number in zip(row, numeric, strict=True)),
        )
        for row in rows
    ]
    return tag("div", tag("table", tag("thead", head), tag("tbody", *body), class_=class_), class_="wide")


def facts(pairs: Iterable[tuple[Content, Content]]) -> Html:
    """Return names with their values; what has no value is left out."""
    shown = [(name, value) for name, value in pairs if escape(value)]
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in shown), class_="facts")


def fold(summary: Content, *content: Content, is_open: bool = False) -> Html:
    """Return content that is unfolded by a click; needs no script."""
    opened = " open" if is_open else ""
    return Html(
        f"<details{opened}><summary>{escape(summary)}</summary>{''.join(escape(part) for part in content)}</details>"
    )


def show_number(value: float | None, digits: int = 4) -> str:
    """Return a number as people write it: few digits, thousands set apart; nothing for none."""
    if value is None or value != value:  # noqa: PLR0124 - NaN alone is not itself
        return ""
    magnitude = abs(value)
    if magnitude >= 1000:
        return f"{value:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    if magnitude != 0 and magnitude < 1e-3:
        return f"{value:.2g}"
    return f"{value:.{digits}g}"


def show_time(seconds: float | None, zone: tzinfo, *, with_date: bool = True) -> str:
    """Return a time as a person on the spot reads it; nothing for none."""
    if seconds is None:
        return ""
    moment = datetime.fromtimestamp(seconds, zone)
    return moment.strftime("%Y-%m-%d %H:%M:%S" if with_date else "%H:%M")


def show_span(seconds: float | None) -> str:
    """Return how long something took in the two largest units."""
    if seconds is None or seconds != seconds:  # noqa: PLR0124 - as above
        return ""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    hours = round(minutes / 60)
    return f"{hours // 24} d {hours % 24} h"


def show_size(size_bytes: float | None) -> str:
    """Return a size in binary units; nothing for none."""
    if size_bytes is None:
        return ""
    value, units = float(size_bytes), ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB"]
    while value >= 1024 and len(units) > 1:
        value, units = value / 1024, units[1:]
    return f"{value:.3g} {units[0]}" if value < 1000 else f"{value:.0f} {units[0]}"


def count(number: int, one: str, many: str = "") -> str:
    """Return a number with its noun."""
    return f"{show_number(number)} {one if number == 1 else many or one + 's'}"


def show_value(value: Any) -> str:
    """Return a parameter or a fact as text, nested ones in one line."""
    match value:
        case None:
            return "–"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.6g}"
        case dict():
            return ", ".join(f"{key} {show_value(item)}" for key, item in value.items() if item is not None)
        case list() | tuple():
            return ", ".join(show_value(item) for item in value)
    return str(value)
