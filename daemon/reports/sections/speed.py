"""How fast movies came and were finished, and how long each waited for its CTF."""

import numpy as np

from daemon.reports.charts import Plot, draw_metric
from daemon.reports.data import SessionData
from daemon.reports.markup import Html, join, paragraph, show_number, show_span, table, tag
from daemon.reports.sections.acquisition import rates

_QUANTILES = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("longest", 1.0))


def render(data: SessionData) -> Html | None:
    """Return rates, latencies and how long each stage takes."""
    parts = [part for part in (_rates(data), _latency(data), _durations(data)) if part is not None]
    return join(parts) if parts else None


def _rates(data: SessionData) -> Html | None:
    found = rates(data)
    if found is None:
        return None
    drawn, step_s = found
    said = (
        f"Each step is the mean of {show_span(step_s)}. A movie is written when its file was last written: where files "
        "were copied without their times, when they were copied."
    )
    return join([tag("h3", "Movies per hour"), tag("figure", drawn, tag("figcaption", said))])


def _latency(data: SessionData) -> Html | None:
    latency = data.numbers("latency_s")
    known = latency[np.isfinite(latency)]
    if not known.size:
        return None
    written = data.numbers("written_s")
    rows = [[name, show_span(float(np.quantile(known, share)))] for name, share in _QUANTILES]
    span = (float(np.nanmin(written)), float(np.nanmax(written)))
    largest = float(np.quantile(known, 0.95))
    unit, factor = ("min", 1 / 60) if largest > 300 else ("s", 1.0)
    plot = Plot("latency", "From file closed to CTF", unit, written, latency * factor)
    said = (
        "From the last write to a movie to the end of its CTF estimation, by the time of that last write. Movies that "
        f"somebody had to ask for again are left out; {show_number(known.size)} are counted."
    )
    return join(
        [
            tag("h3", "From file closed to CTF"),
            tag("figure", draw_metric(plot, data.moment.zone, span), tag("figcaption", said)),
            table(["of the movies", "#within"], rows),
        ]
    )


def _durations(data: SessionData) -> Html | None:
    durations = {row["stage"]: row for row in data.answer("durations")}
    states: dict[str, dict[str, int]] = {}
    for row in data.answer("tasks"):
        states.setdefault(row["stage"], {})[row["state"]] = row["count"]
    if not states:
        return None
    names = ("completed", "running", "pending", "failed", "skipped", "cancelled")
    rows = []
    for stage, numbers in states.items():
        took = durations.get(stage)
        spans = [show_span(took[key]) if took else "" for key in ("median_s", "p95_s")]
        rows.append([stage.replace("_", " "), *(show_number(numbers.get(name, 0)) for name in names), *spans])
    headings = ["stage", *(f"#{name}" for name in names), "#median run", "#95 % within"]
    return join(
        [
            tag("h3", "Stages"),
            table(headings, rows),
            paragraph("A run is one attempt that succeeded, reading and writing included.", class_="quiet"),
        ]
    )
