"""The session in a few figures, and what asks for a look."""

from typing import Any

import numpy as np

from daemon.domain.motion import NOT_RELIED_ON
from daemon.domain.names import readable_path
from daemon.reports.data import Numbers, SessionData
from daemon.reports.markup import Content, Html, bullets, count, join, paragraph, show_number, show_span, tag
from daemon.reports.measures import MEASURES
from daemon.sessions.defocus_check import defocus_note
from daemon.sessions.first_movie import FIRST_MOVIE_KINDS, settled_doubts
from daemon.sessions.left_alone import KINDS, say_count
from daemon.store.rows import decode_acquisition, decode_path

_CRITICAL = ("error", "critical")
_MOST_NOTICES = 12
_MOST_PER_HOUR = 2000.0
"""Twice what the fastest microscopes record: beyond it, files are copies, and their times those of copying."""


def render(data: SessionData) -> Html:
    """Return the tiles and the list of what to look at."""
    if not data.micrographs and not data.movie_states:
        where = readable_path(decode_path(data.facts["raw_directory"]))
        said = f"No movie has been seen yet in {where}. This page fills as they come."
        return join([paragraph(said, class_="empty"), _left_alone(data)])
    tiles = [*_movies(data), *_quality(data), *_speed(data)]
    return join([tag("div", *tiles, class_="tiles"), _to_look_at(data)])


def _left_alone(data: SessionData) -> Html:
    """Return what there is instead of movies."""
    found = [row for row in data.answer("movies") if row["state"] == "ignored" and row["reason"] in KINDS]
    said: list[Content] = []
    for row in found:
        kind, first = KINDS[row["reason"]], readable_path(decode_path(row["first"]))
        many = say_count(kind, row["count"]).rstrip(",")
        said.append(f"{many}, first {first}: to have them processed, {kind.advice}.")
    return bullets(said) if said else Html("")


def _tile(value: Content, words: Content, more: Content = "") -> Html:
    return tag("div", tag("b", value), tag("span", words), tag("small", more) if more else "", class_="tile")


def _movies(data: SessionData) -> list[Html]:
    states = data.movie_states
    passing = sum(verdict is True for verdict in data.passes)
    judged = sum(verdict is not None for verdict in data.passes)
    lost = states.get("failed", 0) + states.get("quarantined", 0)
    waiting = sum(states.get(state, 0) for state in ("seen", "settling", "complete"))
    tiles = [
        _tile(
            show_number(sum(states.values())),
            "movies",
            _say_left(waiting, data.partly_cancelled),
        ),
        _tile(show_number(lost), "failed or damaged", "see Failures" if lost else "none"),
    ]
    if judged:
        share = f"{100 * passing / judged:.0f} % of {show_number(judged)} judged"
        by_hand = data.accepted_by_hand
        share += f", {show_number(by_hand)} by hand" if by_hand else ""
        tiles.insert(1, _tile(show_number(passing), "pass" if by_hand else "pass the gates", share))
    return tiles


def _say_left(waiting: int, cancelled: int) -> str:
    said = [f"{show_number(waiting)} in work"] if waiting else []
    said += [f"{show_number(cancelled)} with cancelled steps"] if cancelled else []
    return ", ".join(said) or "all finished"


def _quality(data: SessionData) -> list[Html]:
    """Return the medians that stand under the drawings, of the same values."""
    measures = {measure.key: measure for measure in MEASURES}
    tiles = []
    for key, words in (
        ("fit_resolution_ang", "CTF fit resolution"),
        ("defocus", "defocus"),
        ("total_motion_ang", "drift"),
    ):
        plot = measures[key].plot(data)
        known = plot.values[plot.trusted]
        fits = int(plot.shown.sum())
        if known.size:
            low, middle, high = np.quantile(known, [0.1, 0.5, 0.9])
            said = f"80 % from {show_number(low, 3)} to {show_number(high, 3)} {plot.unit}"
            if known.size < fits:
                said += f", of {count(known.size, 'trusted fit')}"
            tiles.append(_tile(f"{show_number(middle, 3)} {plot.unit}", f"median {words}", said))
        elif fits:
            tiles.append(_tile("–", f"median {words}", f"none of {count(fits, 'fit')} is to be trusted"))
    return tiles


def _speed(data: SessionData) -> list[Html]:
    tiles = []
    written = _known(data.numbers("written_s"))
    if written.size > 1 and np.ptp(written) > 0:
        span_s = float(np.ptp(written))
        rate = (written.size - 1) / span_s * 3600
        is_copied = rate > _MOST_PER_HOUR
        said = (
            f"copied within {show_span(span_s)}: not the microscope's pace"
            if is_copied
            else f"over {show_span(span_s)}"
        )
        tiles.append(_tile("–" if is_copied else show_number(rate, 3), "movies per hour", said))
    latency = _known(data.numbers("latency_s"))
    if latency.size:
        p50, p95 = np.quantile(latency, [0.5, 0.95])
        tiles.append(_tile(show_span(float(p50)), "file closed → CTF", f"95 % within {show_span(float(p95))}"))
    return tiles


def _known(values: Numbers) -> Numbers:
    return values[np.isfinite(values)]


def _notices(data: SessionData) -> list[dict[str, Any]]:
    """Return what people were told, newest first, less what was mended; of one mistake what was told last."""
    over = settled_doubts(decode_acquisition(data.facts["acquisition"]), data.decisions)
    shown, seen = [], set()
    for row in data.answer("notifications"):
        kind = row["kind"]
        if row["severity"] == "info" or kind in over or kind in seen:
            continue
        if kind in FIRST_MOVIE_KINDS:
            seen.add(kind)
        shown.append(row)
    return shown


def _trusted_defocus_ang(data: SessionData) -> list[float]:
    pairs = ((row["defocus_u_ang"], row["defocus_v_ang"]) for row in data.micrographs if row["ctf_confident"])
    return [(u_ang + v_ang) / 2 for u_ang, v_ang in pairs if u_ang is not None and v_ang is not None]


def _to_look_at(data: SessionData) -> Html:
    """Return what is more than a figure: distrust, ice, and whatever the daemon has told people."""
    said: list[Content] = []
    if cancelled := data.partly_cancelled:
        again = f"elcano retry --session {data.name} --cancelled"
        said.append(
            join([f"Steps of {count(cancelled, 'done movie')} were cancelled; ", tag("code", again), " takes them up."])
        )
    distrusted = sum(row["ctf_confident"] is False for row in data.micrographs)
    if distrusted:
        said.append(f"The CTF of {count(distrusted, 'micrograph')} is not to be trusted: too few rings, or none.")
    if focused := defocus_note(decode_acquisition(data.facts["acquisition"]), _trusted_defocus_ang(data)):
        said.append(f"{focused[0].upper()}{focused[1:]}.")
    remarked = [row for row in data.micrographs if row["motion_warning"]]
    doubted = [row["name"] for row in remarked if NOT_RELIED_ON in row["motion_warning"]]
    if doubted:
        which = str(doubted[0]) if len(doubted) == 1 else f"{count(len(doubted), 'movie')}, the first {doubted[0]},"
        said.append(f"The motion of {which} is not to be relied on: look at the motion picture, which says why.")
    if moving := len(remarked) - len(doubted):
        said.append(f"{count(moving, 'micrograph')} came with a remark about their motion; see Remarks under Failures.")
    notices = _notices(data)
    for row in notices[:_MOST_NOTICES]:
        mark = "‼ " if row["severity"] in _CRITICAL else ""
        said.append(join([f"{mark}{row['message']}", tag("em", f" {row['hint']}") if row["hint"] else ""]))
    if len(notices) > _MOST_NOTICES:
        said.append(f"and {count(len(notices) - _MOST_NOTICES, 'more notice')}")
    return join([tag("h3", "Worth a look"), bullets(said)]) if said else Html("")
