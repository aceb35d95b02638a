"""Every number over time with its distribution, the gates drawn in, and how many pass."""

import json
from collections.abc import Mapping

import numpy as np

from daemon.pipeline.gate import BY_HAND
from daemon.reports.charts import MOST_DOTS, draw_metric
from daemon.reports.data import SessionData
from daemon.reports.markup import Content, Html, fold, join, paragraph, show_number, show_time, table, tag
from daemon.reports.measures import MEASURES, Measure, other_measures

_MOST_NAMES = 8


def render(data: SessionData) -> Html:
    """Return the table of gates and the drawings."""
    drawn = [part for measure in MEASURES if (part := _draw(measure, data)) is not None]
    if not drawn:
        drawn = [
            paragraph("No stage has given numbers yet: the drawings appear with the first micrograph.", class_="empty")
        ]
    return join([_gates(data), _legend(data), *drawn])


def render_others(data: SessionData) -> Html | None:
    """Return the numbers that are not explained one by one."""
    drawn = [part for measure in other_measures(data) if (part := _draw(measure, data)) is not None]
    return fold(f"{len(drawn)} more numbers of the stages", *drawn) if drawn else None


def _draw(measure: Measure, data: SessionData) -> Html | None:
    plot = measure.plot(data)
    if not plot.shown.any():
        return None
    known = plot.values[plot.shown]
    if not plot.gates and known.size > 1 and np.ptp(known) == 0:
        said = f"{show_number(float(known[0]))} {plot.unit}".strip()
        return paragraph(tag("strong", plot.title), f": {said} for all {show_number(known.size)} micrographs.")
    times_s = plot.times_s[np.isfinite(plot.times_s)]
    drawing = draw_metric(plot, data.moment.zone, (float(times_s.min()), float(times_s.max())))
    said = plot.describe()
    return tag(
        "figure",
        tag("h3", plot.title, id=f"m-{measure.key}"),
        tag("p", f"{said[0].upper()}{said[1:]}.", class_="said"),
        drawing,
        tag("figcaption", measure.tells) if measure.tells else "",
        class_="measure",
    )


def _legend(data: SessionData) -> Html:
    said = (
        "Each point is a micrograph at the time of its last write; a × is outside a gate, a grey + has a fit that is "
        "not to be trusted and counts for nothing. The line is the running median, the bars on the right are the "
        "distribution on the same axis, and what a gate refuses lies in the shaded part."
    )
    if len(data.micrographs) > MOST_DOTS:
        said += (
            " With this many micrographs the band holds the middle 80 % of each interval, and only its extremes and "
            "those outside a gate are drawn as points."
        )
    return paragraph(said, class_="quiet")


def _gates(data: SessionData) -> Html:
    """Return each gate with its limit, who set it, and which images it refuses."""
    refused: dict[str, list[str]] = {}
    for row in data.micrographs:
        if row["passes"] is False:
            refused.setdefault(row["gate"], []).append(str(row["name"]))
    who = _who_set(data)
    rows: list[list[Content]] = []
    for gate in data.gates:
        limit = data.limits.get(gate.name)
        sign = "at most" if gate.passes_below else "at least"
        asked = "off" if limit is None else f"{sign} {show_number(limit)}{gate.unit}"
        rows.append([gate.name, gate.meaning, asked, *_refused(refused, gate.name), who.get(gate.name, "config.toml")])
    names = {gate.name for gate in data.gates}
    others = [
        [
            gate,
            "rejected by a person" if gate == BY_HAND else "gave nothing to judge by",
            "",
            *_refused(refused, gate),
            "",
        ]
        for gate in refused
        if gate not in names
    ]
    judged = sum(verdict is not None for verdict in data.passes)
    accepted = data.accepted_by_hand
    passing = sum(verdict is True for verdict in data.passes) - accepted
    said = f"{show_number(passing)} of {show_number(judged)} micrographs that were judged pass every gate"
    said += f"; {show_number(accepted)} more {'is' if accepted == 1 else 'are'} accepted by hand." if accepted else "."
    if not judged:
        said = "No micrograph has been judged yet."
    note = (
        "A gate is a limit that one number of a micrograph is held to. What a gate refuses is kept, with all its "
        "results; it is left out of what passes, and of later steps such as picking. A micrograph is counted at the "
        "first gate that refuses it; one whose CTF fit is not to be trusted, or whose step failed, under the step's "
        "name."
    )
    return join(
        [
            paragraph(tag("strong", said)),
            table(["gate", "judges", "limit", "#refused", "which", "set by"], [*rows, *others]),
            paragraph(note, class_="quiet"),
        ]
    )


def _refused(refused: Mapping[str, list[str]], gate: str) -> tuple[str, str]:
    """Return how many micrographs a gate refuses, and the first of their names."""
    names = refused.get(gate, [])
    more = len(names) - _MOST_NAMES
    return show_number(len(names)), ", ".join(names[:_MOST_NAMES]) + (
        f" and {show_number(more)} more" if more > 0 else ""
    )


def _who_set(data: SessionData) -> dict[str, str]:
    found: dict[str, str] = {}
    for row in data.answer("controls"):
        if row["kind"] == "gates" and row["session_id"] is not None:
            when = show_time(row["set_s"], data.moment.zone)
            why = f": {row['why']}" if row["why"] else ""
            found |= dict.fromkeys(json.loads(row["value"]), f"{row['asked_by']}, {when}{why}")
    return found
