"""What a session would be taken as, in lines."""

from daemon.messages.browsing import PreviewAnswer
from tui.core.folders import images_words, movies_words, spoken
from tui.core.text import show_line
from tui.widgets.paragraphs import Line, pair_lines, text_lines, title_line

_MOST_WARNINGS = 8
_FILL_IN = (
    "Name it under acquisition in session.json, or in a [[session]] entry of config.toml; movies' headers may too."
)


def draw_preview(found: PreviewAnswer, width: int) -> list[Line]:
    """Say what stops an import first, then what is missing, then what is known."""
    lines: list[Line] = [[(f" {show_line(found.name, 80)}", "strong"), (f"  {_kind(found)}", "dim")]]
    if found.refusal:
        lines += text_lines(found.refusal, width, "failed", sign="✗ ")
    if found.session_state:
        words = f"imported already, {found.session_state}; importing again takes over what has changed"
        lines += text_lines(words, width, "done", sign="✓ ")
    facts = [(key, value) for key, value in (("project", found.project), ("about", found.description)) if value]
    facts += [("images", images_words(found)), ("movies", movies_words(found)), ("results", found.home)]
    lines += pair_lines(facts, width)
    for trouble in found.movies.troubles:
        lines += text_lines(trouble, width, "warning", sign="⚠ ")
    if found.missing:
        lines.append(title_line("nobody has said"))
        lines += text_lines(", ".join(map(spoken, found.missing)), width, "warning", sign="⚠ ")
        lines += text_lines(_FILL_IN, width, "dim")
    lines.append(title_line("known"))
    by_source: dict[str, list[str]] = {}
    for value in found.values:
        by_source.setdefault(value.source, []).append(value.said)
    for source, said in by_source.items():
        lines += text_lines(f"{', '.join(said)} ({source})", width)
    if not found.values:
        lines += text_lines("nothing but what the movies' headers say", width, "dim")
    lines += [title_line("steps"), *text_lines(", ".join(found.stages), width)]
    if found.warnings:
        lines.append(title_line("not used of session.json"))
        for warning in found.warnings[:_MOST_WARNINGS]:
            lines += text_lines(warning, width, "warning", sign="⚠ ")
        more = len(found.warnings) - _MOST_WARNINGS
        lines += text_lines(f"… and {more} more", width, "dim") if more > 0 else []
    return lines


def _kind(found: PreviewAnswer) -> str:
    return "session.json" if found.has_manifest else "no session.json"
