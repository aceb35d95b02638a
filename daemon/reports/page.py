"""The whole page from the sections that apply: it stands by itself, and loads nothing from anywhere."""

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from datetime import datetime

from daemon import __version__
from daemon.reports.data import SessionData
from daemon.reports.markup import Html, bullets, escape, fold, join, show_hidden, show_span, show_time, tag
from daemon.reports.section import Section
from daemon.reports.style import CSS, SCRIPT

_INDICES = re.compile(r'data-i="([\d ]+)"')


def render_page(data: SessionData, sections: Sequence[Section]) -> str:
    """Return the page of a session."""
    shown = [(section, content) for section, content in _render(data, sections) if content is not None]
    links = [tag("a", section.title, href=f"#{section.key}") for section, _ in shown]
    parts = [tag("section", tag("h2", section.title), content, id=section.key) for section, content in shown]
    body = join([_header(data), tag("nav", *links, aria_label="Sections"), tag("main", *parts), _footer(data)])
    scripts = [_names(data, body.text), Html(f"<script>{SCRIPT}</script>")] if "data-i=" in body.text else []
    return "".join(
        [
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_policy()}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            _refresh(data),
            f"<title>{escape(data.name)} · Elcano</title><style>{CSS}</style></head>\n<body>",
            join([body, *scripts]).text,
            "</body></html>\n",
        ]
    )


def _render(data: SessionData, sections: Sequence[Section]) -> Iterator[tuple[Section, Html | None]]:
    for section in sections:
        yield section, section.render(data) if section.applies(data) else None


def _policy() -> str:
    """Return what the page may do: draw itself and run its own lines of script; reach nothing."""
    sha256 = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    return f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{sha256}'"


def _refresh(data: SessionData) -> str:
    every_s = data.moment.renewed_every_s
    return "" if every_s is None else f'<meta http-equiv="refresh" content="{max(1, round(every_s))}">'


def _header(data: SessionData) -> Html:
    moment = data.moment
    state = tag("span", "collecting" if data.is_open else "closed", class_="state open" if data.is_open else "state")
    written = f"Written {show_time(moment.at_s, moment.zone)}"
    if moment.renewed_every_s is not None:
        written += f", renewed every {show_span(moment.renewed_every_s)} while the session runs"
    elif data.is_open:
        written += ": the session was still running"
    lines = [tag("p", f"{written}. Times are {_zone(data)}.", class_="quiet")]
    if data.note:
        lines.append(tag("p", data.note, class_="quiet"))
    return tag("header", tag("h1", data.name, state), *lines)


def _zone(data: SessionData) -> str:
    local = datetime.fromtimestamp(data.moment.at_s, data.moment.zone)
    name, offset = local.tzname() or "", f"UTC{local:%z}"
    return "UTC" if name == "UTC" else f"{name} ({offset[:6]}:{offset[6:]})"


def _footer(data: SessionData) -> Html:
    parts = [Html(f"Elcano {escape(__version__)}. This file needs nothing else: keep it, send it, print it.")]
    if data.problems:
        unique = list(dict.fromkeys(data.problems))
        parts.insert(0, fold(f"{len(unique)} thing(s) could not be shown", bullets(unique[:100])))
    return tag("footer", *parts)


def _names(data: SessionData, body: str) -> Html:
    """Return the names of the points that were drawn, for the script; nothing in them can end the element."""
    drawn = sorted({int(index) for found in _INDICES.findall(body) for index in found.split()})
    text = json.dumps(
        {str(index): show_hidden(data.names[index]) for index in drawn}, ensure_ascii=True, separators=(",", ":")
    )
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Html(f'<script type="application/json" id="names">{text}</script>')
