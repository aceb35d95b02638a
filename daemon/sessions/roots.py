"""Paths that others name must lie under the roots an administrator allowed, symbolic links followed."""

from collections.abc import Sequence
from pathlib import Path

from daemon.errors import PathOutsideRoots


def resolve_under(path: Path | str, roots: Sequence[Path], *, base: Path | None = None) -> Path:
    """Return the real place of `path`, which need not exist yet; a relative one starts at `base`.

    Raises PathOutsideRoots when that place, with every symbolic link followed, lies under no root.
    """
    named = Path(path) if base is None else base / path
    try:
        real = named.resolve()
        # A real path under a root as it is named needs no look at the roots: another one may not answer.
        if any(real.is_relative_to(root) for root in roots if root.is_absolute()):
            return real
        if any(real.is_relative_to(root.resolve()) for root in roots):
            return real
    except (OSError, RuntimeError, ValueError) as error:  # a circle of links, or bytes no path can hold
        raise PathOutsideRoots(named, roots) from error
    raise PathOutsideRoots(named, roots)
