"""The best, the median and the worst micrographs, with their Thon rings and motion."""

from daemon.domain.names import readable_path
from daemon.pipeline.gate import BY_HAND
from daemon.reports.data import SessionData
from daemon.reports.markup import Content, Html, count, escape, facts, join, paragraph, show_number, tag
from daemon.reports.pictures import KINDS, WITHOUT_FIT, Album, Shown, choose_examples
from daemon.store.rows import decode_path

_WORDS = {"best": "Best", "median": "In the middle", "worst": "Worst"}


def render(data: SessionData) -> Html:
    """Return the examples with their pictures."""
    chosen = choose_examples(data.micrographs)
    if not any(chosen.values()):
        return paragraph("No micrograph has a CTF yet: examples appear with the first fits.", class_="empty")
    album = Album(data.home)
    parts: list[Content] = [
        paragraph("By the resolution to which the CTF fits; fits that are not to be trusted come last.", class_="quiet")
    ]
    for which, rows in chosen.items():
        if rows:
            parts.append(tag("h3", _WORDS[which]))
            parts += [_example(row, album) for row in rows]
    if not album.embedded:
        where = readable_path(data.home)
        said = f"No pictures of these lie under {where}: they were removed, or cannot be seen from here."
        parts.insert(0, paragraph(said, class_="empty"))
    if album.left_out:
        parts.append(
            paragraph(f"{count(album.left_out, 'picture')} left out, to keep this page small.", class_="quiet")
        )
    data.problems.extend(album.unreadable)
    return join(parts)


def _example(row: dict[str, object], album: Album) -> Html:
    name = str(row["name"])
    pictures = [_figure(kind, name, album) for kind in KINDS]
    if pictures[1] is None:
        pictures[1] = _figure(WITHOUT_FIT, name, album)
    return tag(
        "article",
        tag("h4", name),
        _numbers(row),
        tag("div", *filter(None, pictures), class_="pictures"),
        class_="example",
    )


def _figure(kind: Shown, name: str, album: Album) -> Html | None:
    embedded = album.embed(kind, name)
    if embedded is None:
        return None
    picture = Html(
        f'<img src="{embedded.uri}" width="{embedded.width_px}" height="{embedded.height_px}" '
        f'alt="{escape(f"{kind.words} of {name}")}" loading="lazy">'
    )
    return tag("figure", picture, tag("figcaption", kind.words))


def _numbers(row: dict[str, object]) -> Html:
    def number(unit: str, *columns: str, factor: float = 1.0) -> str:
        values = [float(value) for value in map(row.get, columns) if isinstance(value, int | float)]
        return f"{show_number(sum(values) / len(values) * factor, 3)} {unit}" if values else ""

    return facts(
        [
            ("resolution", number("Å", "fit_resolution_ang")),
            ("fit", "" if row.get("ctf_confident") else "not to be trusted"),
            ("defocus", number("µm", "defocus_u_ang", "defocus_v_ang", factor=1e-4)),
            ("astigmatism", number("Å", "astigmatism_ang")),
            ("drift", number("Å", "drift_ang")),
            ("ice ring", number("×", "ice_ring")),
            ("verdict", _verdict(row)),
            ("remark", "; ".join(str(row[key]) for key in ("ctf_warning", "motion_warning") if row.get(key))),
            ("movie", readable_path(decode_path(str(row.get("movie") or "")))),
        ]
    )


def _verdict(row: dict[str, object]) -> str:
    """Return what the gates say, or which person decided over them."""
    verdict = row.get("passes")
    if verdict is None:
        return ""
    if row.get("gate") == BY_HAND:
        return str(row.get("gate_reason"))
    return "passes the gates" if verdict else f"refused: {row.get('gate_reason')}"
