"""What went wrong or was left out, by cause, with what to do about it."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import PurePath
from typing import Any

from daemon.domain.names import readable_path
from daemon.reports.data import SessionData
from daemon.reports.markup import Content, Html, count, fold, join, paragraph, show_number, show_time, table, tag
from daemon.reports.questions import MOST_FAILURES
from daemon.store.rows import decode_path

_NUMBER = re.compile(r"[-−]?\d+(?:[.,]\d+)*")
_SERIES = ("belongs to a tilt series", "belongs to a diffraction data set")
_MOST_CAUSES = 60
_MOST_NAMES = 8
_MOST_REMARKS = 25


def render(data: SessionData) -> Html:
    """Return failures, skipped and cancelled steps, and remarks."""
    parts = [part for part in (_failed(data), _skipped(data), _remarks(data)) if part is not None]
    return join(parts) if parts else paragraph("Nothing failed, and nothing was skipped.", class_="good")


def render_left_alone(data: SessionData) -> Html | None:
    """Return the files that were not taken for movies of this session, or are no more."""
    rows = [row for row in data.answer("movies") if row["state"] in {"ignored", "vanished", "superseded"}]
    if not rows:
        return None
    series = [row for row in rows if row["reason"].startswith(_SERIES)]
    others = [row for row in rows if row not in series]
    said = []
    if series:
        number = sum(row["count"] for row in series)
        said.append(paragraph(f"{count(number, 'movie')} of tilt series or diffraction: recognised, and left alone."))
        said.append(_files(series))
    if others:
        number = sum(row["count"] for row in others)
        said.append(fold(f"{count(number, 'other file')} left alone", _files(others)))
    return join(said)


def _files(rows: Iterable[Mapping[str, Any]]) -> Html:
    listed = [
        (row["state"], row["reason"], show_number(row["count"]), _name(row["first"]), _name(row["last"]))
        for row in rows
    ]
    more = [] if len(listed) <= _MOST_CAUSES else [("", f"and {len(listed) - _MOST_CAUSES} more reasons", "", "", "")]
    return table(["state", "why", "#files", "first", "last"], [*listed[:_MOST_CAUSES], *more])


def _name(path: str) -> str:
    return PurePath(readable_path(decode_path(path))).name


def _failed(data: SessionData) -> Html | None:
    causes: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for row in data.answer("failures"):
        name = row["name"] or _name(row["movie"] or "")
        # The same cause names another file each time.
        reason = row["reason"].replace(row["movie"] or "\0", "…").replace(name or "\0", "…")
        key = (row["stage"] or row["what"], _without_numbers(reason), _without_numbers(row["hint"]))
        causes.setdefault(key, []).append({**row, "name": name, "reason": reason})
    if not causes:
        return None
    ordered = sorted(causes.items(), key=lambda item: -len(item[1]))
    rows: list[list[Content]] = []
    for (stage, _, _), found in ordered[:_MOST_CAUSES]:
        reason, hint = found[0]["reason"], found[0]["hint"]
        latest = max((row["failed_s"] for row in found if row["failed_s"] is not None), default=None)
        rows.append(
            [
                stage.replace("_", " "),
                reason,
                hint or "–",
                show_number(len(found)),
                _listed([row["name"] for row in found]),
                show_time(latest, data.moment.zone),
            ]
        )
    if len(ordered) > _MOST_CAUSES:
        rows.append(["", f"and {len(ordered) - _MOST_CAUSES} more causes", "", "", "", ""])
    total = sum(len(found) for found in causes.values())
    heading = tag("h3", f"{count(total, 'failure')} of {count(len(causes), 'kind')}")
    is_of_steps = any(row["what"] == "task" for row in data.answer("failures"))
    said = f"Once a cause is mended, elcano retry --session {data.name} runs what failed again." if is_of_steps else ""
    if len(data.answer("failures")) >= MOST_FAILURES:
        said = f"Only the latest {show_number(MOST_FAILURES)} are counted here. {said}"
    headings = ["where", "what went wrong", "what to do", "#how many", "which", "latest"]
    return join([heading, table(headings, rows), paragraph(said, class_="quiet")])


def _without_numbers(text: str) -> str:
    """Return what messages of one kind have in common: the values in them differ from one movie to the next."""
    return _NUMBER.sub("#", text)


def _listed(names: list[str]) -> str:
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def _skipped(data: SessionData) -> Html | None:
    rows = [
        [row["stage"].replace("_", " "), row["state"], row["reason"] or "–", show_number(row["count"]), row["first"]]
        for row in data.answer("skipped")
    ]
    if not rows:
        return None
    headings = ["stage", "state", "why", "#steps", "such as"]
    content = table(headings, rows[:_MOST_CAUSES])
    total = sum(row["count"] for row in data.answer("skipped"))
    return fold(f"{count(total, 'step')} skipped or cancelled", content, is_open=len(rows) <= 12)


def _remarks(data: SessionData) -> Html | None:
    remarks: Counter[tuple[str, str]] = Counter()
    such_as: dict[tuple[str, str], str] = {}
    for row in data.micrographs:
        for key, words in (("ctf_warning", "CTF"), ("motion_warning", "motion")):
            if row[key]:
                kind = (words, _without_numbers(row[key]))
                remarks[kind] += 1
                such_as.setdefault(kind, row[key])
    if not remarks:
        return None
    rows = [(kind[0], such_as[kind], show_number(number)) for kind, number in remarks.most_common(_MOST_REMARKS)]
    more = len(remarks) - _MOST_REMARKS
    if more > 0:
        rows.append(("", f"and {more} more", ""))
    return fold(
        f"Remarks on {count(sum(remarks.values()), 'result')}", table(["about", "such as", "#micrographs"], rows)
    )
