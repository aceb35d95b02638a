"""How many movies of a session are in each state, in words."""

from collections.abc import Mapping


def told_movies(movies: Mapping[str, int], partly_cancelled: int) -> str:
    """Say how many movies are in each state; what is done without all that was owed says so. Empty: no movies."""
    parts = []
    for state, count in sorted(movies.items()):
        left = f", {partly_cancelled} of them with cancelled steps (retry --cancelled takes them up again)"
        parts.append(f"{count} {state}{left if state == 'done' and partly_cancelled else ''}")
    return "; ".join(parts) if partly_cancelled else ", ".join(parts)
