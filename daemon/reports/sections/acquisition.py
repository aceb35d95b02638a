"""How the session was taken: parameters, arrival of the movies, gaps, and what was not taken alike."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from daemon.domain.names import readable_path
from daemon.reports.charts import Curve, count_per_hour, count_up, draw_counts
from daemon.reports.data import Numbers, SessionData
from daemon.reports.markup import (
    Html,
    count,
    facts,
    fold,
    join,
    paragraph,
    show_number,
    show_size,
    show_span,
    show_time,
    show_value,
    table,
    tag,
)
from daemon.reports.questions import METRICS
from daemon.store.rows import decode_path

_LEAST_GAP_S = 600.0
_GAP_OF_INTERVALS = 10.0
_MOST_GAPS = 40

_NAMES = (
    ("voltage_kv", "Voltage", "kV"),
    ("spherical_aberration_mm", "Cs", "mm"),
    ("amplitude_contrast", "Amplitude contrast", ""),
    ("pixel_size_ang", "Pixel size", "Å"),
    ("motion_binning", "Binning of the sums", "×"),
    ("magnification", "Magnification", "×"),
    ("dose_per_frame_e_per_ang2", "Dose per frame", "e⁻/Å²"),
    ("total_dose_e_per_ang2", "Total dose", "e⁻/Å²"),
)


def find_gaps(times_s: Numbers) -> list[tuple[float, float]]:
    """Return the times without a new movie that are long beside the usual interval, oldest first."""
    known = np.sort(times_s[np.isfinite(times_s)])
    if known.size < 3:
        return []
    intervals = np.diff(known)
    longest_usual = max(_LEAST_GAP_S, _GAP_OF_INTERVALS * float(np.median(intervals)))
    return [(float(known[index]), float(known[index + 1])) for index in np.flatnonzero(intervals > longest_usual)]


def render(data: SessionData) -> Html:
    """Return parameters, arrival and gaps."""
    return join([_facts(data), _arrival(data), _groups(data)])


def _facts(data: SessionData) -> Html:
    known = data.acquisition
    zone = data.moment.zone
    written = data.numbers("written_s")
    written = written[np.isfinite(written)]
    defocus = known.get("defocus_range_um")
    sizes = [row["size_bytes"] for row in data.micrographs if row["size_bytes"] is not None]
    pairs = [
        (words, f"{show_value(known.get(key))} {unit}".strip())
        for key, words, unit in _NAMES
        if known.get(key) is not None
    ]
    unknown = [words for key, words, _ in _NAMES[:4] if known.get(key) is None]
    shown = [
        ("Raw data", readable_path(decode_path(data.facts["raw_directory"]))),
        ("Results", readable_path(data.home)),
        ("First movie", show_time(float(written.min()), zone) if written.size else None),
        ("Last movie", show_time(float(written.max()), zone) if written.size else None),
        ("Closed", show_time(data.facts["closed_s"], zone)),
        ("Data", show_size(sum(sizes)) if sizes else None),
        *pairs,
        ("Defocus asked for", f"{defocus[0]:g} to {defocus[1]:g} µm" if defocus else None),
        ("Phase plate", "yes" if known.get("phase_plate") else None),
        *((name.capitalize(), _reference(known.get(name))) for name in ("gain", "dark", "defects")),
        ("From the movies' own headers", ", ".join(unknown) if unknown and data.micrographs else None),
    ]
    return facts(shown)


def _reference(reference: Mapping[str, Any] | None) -> str | None:
    """Return where an image of the camera lies, and how it is turned where it is."""
    if not reference:
        return None
    usual = {"flip": "none", "rotate_deg": 0, "operation": "auto", "orientation": "as_is"}
    turned = {key: value for key, value in reference.items() if key in usual and value != usual[key]}
    where = readable_path(decode_path(reference["path"]))
    return f"{where} ({show_value(turned)})" if turned else where


def _arrival(data: SessionData) -> Html:
    written = data.numbers("written_s")
    known = written[np.isfinite(written)]
    if known.size < 2:
        return Html("")
    gaps = find_gaps(written)
    span = (float(known.min()), max(float(known.max()), float(np.nanmax(data.numbers("done_s"), initial=known.min()))))
    finished = data.numbers("done_s")
    curves = [
        Curve("written", "a", *count_up(written)),
        Curve("proven whole", "c", *count_up(data.numbers("complete_s"))),
        Curve("finished", "b", *count_up(finished)),
    ]
    zone = data.moment.zone
    figure = tag("figure", draw_counts("arrival", "Movies over time", curves, zone, span, gaps=gaps))
    return join([tag("h3", "Movies over time"), figure, _gap_table(gaps, data)])


def _gap_table(gaps: Sequence[tuple[float, float]], data: SessionData) -> Html:
    if not gaps:
        return paragraph(
            "No gap in the acquisition: never more than ten usual intervals without a movie.", class_="quiet"
        )
    lost_s = sum(end - begin for begin, end in gaps)
    zone = data.moment.zone
    longest = sorted(gaps, key=lambda gap: gap[0] - gap[1])[:_MOST_GAPS]
    rows = [(show_time(begin, zone), show_time(end, zone), show_span(end - begin)) for begin, end in sorted(longest)]
    said = f"{count(len(gaps), 'gap')}, {show_span(lost_s)} together"
    more = f" (the longest {_MOST_GAPS})" if len(gaps) > _MOST_GAPS else ""
    return fold(f"{said}{more}", table(["from", "to", "#how long"], rows), is_open=len(gaps) <= 8)


def _groups(data: SessionData) -> Html:
    groups = data.decisions.get("optics_groups") or []
    if not groups:
        return Html("")
    numbers = Counter(row["optics_group"] for row in data.micrographs)
    used = _pixel_sizes(data)
    rows = [
        (
            number,
            show_number(numbers.get(number, 0)),
            f"{group['width_px']} × {group['height_px']}",
            group["frame_count"],
            ", ".join(show_number(size) for size in used.get(number) or [_stated_pixel_size(data, group)]),
            readable_path(decode_path(group["gain_path"])) if group.get("gain_path") else "–",
            (group.get("gain_sha256") or "")[:12],
        )
        for number, group in enumerate(groups, start=1)
    ]
    headings = ["#group", "#movies", "frame size, px", "#frames", "#pixel, Å", "gain", "its sha256"]
    return join([tag("h3", "Optics groups"), table(headings, rows)])


def _pixel_sizes(data: SessionData) -> dict[int, list[float | None]]:
    """Return with which pixel sizes the micrographs of each optics group were made."""
    found: dict[int, set[float]] = {}
    sizes = data.stage_column(f"{METRICS}motion_correction", "pixel_size_ang")
    for row, size_ang in zip(data.micrographs, sizes, strict=True):
        if size_ang is not None:
            found.setdefault(row["optics_group"], set()).add(round(size_ang, 4))
    return {number: [*sorted(each)] for number, each in found.items()}


def _stated_pixel_size(data: SessionData, group: Mapping[str, Any]) -> float | None:
    """Return what is to be used while nothing is made: what a person states stands above what headers say."""
    return data.acquisition.get("pixel_size_ang") or group.get("pixel_size_ang")


def bounds_of(span: tuple[float, float], most: int = 96) -> Numbers:
    """Return the bounds of equal intervals, a round number of minutes each, that cover a span."""
    minutes = (1, 2, 5, 10, 15, 20, 30, 60, 120, 180, 360, 720, 1440)
    length_s = 60.0 * next((step for step in minutes if (span[1] - span[0]) / (60 * step) <= most), 1440)
    begin = np.floor(span[0] / length_s) * length_s
    return np.arange(begin, span[1] + length_s * 1.0001, length_s, dtype=np.float64)


def rates(data: SessionData) -> tuple[Html, float] | None:
    """Return movies per hour over time with the length of its steps, None where there is too little to tell."""
    written, done = data.numbers("written_s"), data.numbers("done_s")
    every = np.concatenate([written, done])
    every = every[np.isfinite(every)]
    if every.size < 2 or np.ptp(every) < 60:
        return None
    bounds = bounds_of((float(every.min()), float(every.max())))
    curves = [
        Curve("written", "a", bounds, count_per_hour(written, bounds)),
        Curve("finished", "b", bounds, count_per_hour(done, bounds)),
    ]
    span = (float(bounds[0]), float(bounds[-1]))
    drawn = draw_counts("rates", "Movies per hour", curves, data.moment.zone, span, unit="per h")
    return drawn, float(bounds[1] - bounds[0])
