"""Draw the pictures and the table of keys of docs/terminal.md (`make docs`), from the scenes that the tests look at."""

import asyncio
import os
import re
import time
from base64 import b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from daemon.messages.envelope import utc
from daemon.messages.event_data import LogLine
from tests.tui import facility_scenes, figures_scene, window
from tests.tui.fake_link import FakeLink
from tests.tui.scenes import NOW_S, heartbeat, log_lines, matrix, notifications, sessions, task
from tests.tui.screen_text import settle, shown
from tui.actions import ACTIONS, ANYWHERE, Action
from tui.app import ElcanoTerminal
from tui.core.model import News, Queues
from tui.screens.curate import CurateScreen
from tui.tabs import TABS

DOCS = Path(__file__).parent
PAGE = DOCS / "terminal.md"
PICTURES = DOCS / "pictures"
SIZE = (100, 30)
BEGIN, END = "<!-- keys: written by `make docs` -->\n", "<!-- end of keys -->\n"
DEEPER = {"job": "Job", "task": "Task", "micrograph": "One micrograph"}
"""Screens that are opened from another one."""
_FONT = 'ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace'

_RECTANGLE = re.compile(r'<rect ((?:fill|class)="[^"]*") x="([^"]*)" y="([^"]*)" width="([^"]*)" height="([^"]*)"/>')
_RECTANGLES = re.compile(r'(?:<rect (?:fill|class)="[^"]*" x="[^"]*" y="[^"]*" width="[^"]*" height="[^"]*"/>)+')
_HALF_CELLS = re.compile(r'<text (class="[^"]*") x="([^"]*)" y="([^"]*)" textLength="([^"]*)">▀+</text>')
_BASELINE_PX, _HALF_CELL_PX = 18.5, 12.5


@dataclass(frozen=True)
class Scene:
    """What is pressed over which daemon, what is told then, and the words by which the screen is complete."""

    name: str
    title: str
    link: FakeLink
    keys: tuple[str, ...]
    until: str
    push: tuple[News, ...] = ()


def scenes() -> list[Scene]:
    """Return the screens in the order of the page; each has a daemon of its own."""
    noted = LogLine(ts=utc(NOW_S), job_id="job-4", task_id="task-0-0", level="warning", message="the dose is not known")
    return [
        Scene("jobs", "Jobs", _plain(), ("down",), "24dec03a"),
        Scene("job", "Job", _plain(), ("enter", "right", "space", "space"), "24dec03a"),
        Scene("task", "Task", _plain(task=task()), ("enter", "enter"), "the dose is not known", (noted,)),
        Scene("import", "Import", _facility(), ("2", "enter", "down", "down"), "1200 exposures"),
        Scene("live", "Live", _figures(), ("3",), "gpu01"),
        Scene("micrographs", "Micrographs", _window(), ("4",), "24dec03a"),
        Scene("micrograph", "One micrograph", _window(), ("4", *["down"] * 3, "enter"), "▀▀"),
        Scene("curate", "Curate", _figures(), ("5", "less_than_sign", "n"), "24dec03a"),
        Scene(
            "logs", "Logs", _plain(logs=_lines(), notifications=notifications()), ("6", "up"), "the dose is not known"
        ),
        Scene("sessions", "Sessions", _facility(), ("7", "down", *["right"] * 8, "down"), "tilt series"),
        Scene("artifacts", "Artifacts", _facility(), ("8", "down", "enter", "down"), "rlnMicrographShiftX"),
        Scene("nodes", "Nodes", _figures(), ("9",), "gpu02"),
    ]


async def draw(scene: Scene) -> str:
    """Return the picture of a screen as SVG. Raises TimeoutError where the screen does not come to what is awaited."""
    app = ElcanoTerminal(scene.link, clock_s=lambda: NOW_S)
    async with app.run_test(size=SIZE) as pilot:
        await settle(pilot)
        for key in scene.keys:
            await pilot.press(key)
            await settle(pilot)
        if scene.push:
            scene.link.push(*scene.push)
            await settle(pilot)
        async with asyncio.timeout(60.0):
            while scene.until not in shown(app) or not _is_at_rest(app):
                await pilot.pause(0.02)
        await settle(pilot)
        return lighten(app.export_screenshot(title=f"elcano tui: {scene.title}"))


def lighten(svg: str) -> str:
    """Return the picture with the reader's own fonts, nothing of it from elsewhere, and without what repeats."""
    svg = re.sub(r"<!--.*?-->|@font-face\s*\{.*?\}", "", svg, flags=re.DOTALL)
    svg = svg.replace("Fira Code, monospace", _FONT)
    svg = svg.replace("</style>", "path { shape-rendering: crispEdges }\n</style>", 1)
    svg = re.sub(r"terminal-\d+-", "t-", svg)
    svg = re.sub(r'<clipPath id="t-line-\d+">.*?</clipPath>', "", svg, flags=re.DOTALL)
    svg = re.sub(r' clip-path="url\(#t-line-\d+\)"| shape-rendering="crispEdges"', "", svg)
    svg = _RECTANGLES.sub(_join, _HALF_CELLS.sub(_draw_half_cells, svg)).replace("&#160;", "\u00a0")
    return re.sub(r"\n\s*\n+", "\n", svg).strip() + "\n"


def _draw_half_cells(found: re.Match[str]) -> str:
    """Draw the upper halves of cells, of which pictures are made, as what they are: fonts leave seams between them."""
    colour, x, y, width = found.groups()
    top = float(y) - _BASELINE_PX
    return f'<rect {colour} x="{x}" y="{top:.1f}" width="{width}" height="{_HALF_CELL_PX}"/>'


def _join(found: re.Match[str]) -> str:
    """Draw what has one colour at once, neighbours in a line as one; rectangles of a run never overlap."""
    drawn: dict[str, list[tuple[float, float, str, str]]] = {}
    for colour, left, top, wide, height in _RECTANGLE.findall(found[0]):
        x, width = float(left), float(wide)
        of_colour = drawn.setdefault(colour, [])
        if of_colour:
            x_before, width_before, *line = of_colour[-1]
            if line == [top, height] and abs(x_before + width_before - x) < 0.05:
                of_colour[-1] = (x_before, width_before + width, top, height)
                continue
        of_colour.append((x, width, top, height))
    paths = []
    for colour, parts in drawn.items():
        lines = [f"M{x:g} {top}h{width:g}v{height}h-{width:g}z" for x, width, top, height in parts]
        paths.append(f'<path {colour} d="{"".join(lines)}"/>')
    return "".join(paths)


def key_table() -> str:
    """Return what every key does, screen by screen, as the terminal itself knows it."""
    titles = {ANYWHERE: "Everywhere", **{tab.name: tab.title for tab in TABS}, **DEEPER}
    order = [ANYWHERE, "jobs", "job", "task", *(tab.name for tab in TABS[1:4]), "micrograph", *_names(TABS[4:])]
    parts = []
    for screen in order:
        rows = [_row(action) for action in ACTIONS if screen in action.screens]
        if screen == ANYWHERE:
            rows.insert(0, f"| `{TABS[0].key}` … `{TABS[-1].key}` | Open {', '.join(t.title for t in TABS)}. | |")
        if rows:
            parts.append(f"### {titles[screen]}: keys\n\n| key | does | |\n|---|---|---|\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


def with_keys(page: str) -> str:
    """Return the page with its table of keys renewed. Raises ValueError where the page has no place for it."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{PAGE.name} has no lines {BEGIN.strip()} and {END.strip()}: the keys stand between them.")
    return f"{before}{BEGIN}\n{key_table()}\n{END}{after}"


def _row(action: Action) -> str:
    who = "operator" + (", asks first" if action.confirm else "") if action.who == "operator" else ""
    keys = ", ".join(f"`{key}`" for key in action.all_key_words)
    return f"| {keys} | {action.help} | {who} |".replace("  |", " |")


def _names(tabs: Iterable[Any]) -> list[str]:
    return [tab.name for tab in tabs]


def _is_at_rest(app: ElcanoTerminal) -> bool:
    """Whether what the gates would refuse has been counted by the daemon, where limits were moved."""
    screen = app.screen
    return not isinstance(screen, CurateScreen) or not screen.desk.moved or screen.desk.exact is not None


def _plain(**answers: Any) -> FakeLink:
    return FakeLink(*sessions(), heartbeat(), answers={"matrix": matrix(), **answers})


def _window() -> FakeLink:
    return _plain(**{**window.ANSWERS, "picture": _picture})


def _facility() -> FakeLink:
    answers = {**facility_scenes.ANSWERS, "folder": _folder, "artifact.slice": _section}
    return FakeLink(*sessions(), heartbeat(), answers=answers)


def _figures() -> FakeLink:
    late = figures_scene.behind()
    answers = {
        "matrix": matrix(),
        "curation": lambda asked: figures_scene.curation(asked["session"]),
        "gates": figures_scene.preview(),
        "live": figures_scene.live(late),
        "mount.proof": figures_scene.proof(),
    }
    beats = (figures_scene.full_beat(told=late), figures_scene.full_beat("gpu02", age_s=300))
    return FakeLink(*sessions(), *beats, *figures_scene.stage_beats(), Queues(figures_scene.queues()), answers=answers)


def _folder(asked: Mapping[str, Any]) -> dict[str, Any]:
    """As the tests have it, but the name that is there to do harm."""
    told = facility_scenes.folder(asked)
    return {**told, "entries": [entry for entry in told["entries"] if entry["name"].isprintable()]}


def _picture(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Particles in ice, or Thon rings, in few shades of grey."""
    side = 64
    y, x = np.mgrid[:side, :side] / side - 0.5
    if "ctf" in asked["kind"] or "fft" in asked["kind"]:
        grey = np.cos(4 * np.pi * (2 * np.hypot(x, y)) ** 2) ** 2 * np.exp(-2.5 * np.hypot(x, y))
    else:
        centres = np.random.default_rng(1).uniform(-0.5, 0.5, (12, 2))
        grey = np.min([np.abs(np.hypot(x - cx, y - cy) - 0.055) for cx, cy in centres], axis=0).clip(0, 0.05) * 20
    shades = (np.round(grey * 4) * 51 + 34).clip(0, 238).astype(np.uint8)
    encoded = BytesIO()
    Image.fromarray(shades).save(encoded, format="PNG")
    size = {"width_px": side, "height_px": side}
    return {"kind": asked["kind"], **size, "pieces": [b64encode(encoded.getvalue()).decode()]}


def _lines() -> dict[str, Any]:
    return {"run": "r", "first": 1, "last": 4, "lines": log_lines()[:4]}


def _section(asked: Mapping[str, Any]) -> dict[str, Any]:
    encoded = BytesIO()
    Image.linear_gradient("L").save(encoded, format="PNG")
    section = 32 if asked["section"] is None else asked["section"]
    said = "256 × 256 × 64 float32, 1.5 Å/px"
    size = {"width_px": 256, "height_px": 256, "section": section, "sections": 64}
    return {**size, "said": said, "pieces": [encoded.getvalue()]}


def main() -> None:
    """Write the pictures and the keys."""
    os.environ.update(TZ="UTC", TEXTUAL_ANIMATIONS="none")
    os.environ.pop("NO_COLOR", None)
    time.tzset()
    PICTURES.mkdir(exist_ok=True)
    for scene in scenes():
        (PICTURES / f"{scene.name}.svg").write_text(asyncio.run(draw(scene)), encoding="utf-8")
    PAGE.write_text(with_keys(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
