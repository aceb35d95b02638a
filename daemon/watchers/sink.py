"""Who takes what watching finds. Implemented above, where the ledger is."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from daemon.domain.movie import FileIdentity
from daemon.watchers.found import ChangedFile, FoundFile, IgnoredFile, RefusedMovie, SettledMovie, WatchProblem


class MovieSink(Protocol):
    """Takes what watching finds. A call that takes long slows watching down, which loses nothing; one that raises
    ends it, because what cannot be recorded must not pass for recorded. Calls about different files may overlap."""

    async def seen(self, files: Sequence[FoundFile]) -> None:
        """Take new movies, not yet judged."""
        ...

    async def ignored(self, files: Sequence[IgnoredFile]) -> None:
        """Take files that are no movies."""
        ...

    async def tallied(self, counts: Mapping[str, int]) -> None:
        """Take how many more non-movies of each suffix appeared, beyond those told by name."""
        ...

    async def complete(self, movie: SettledMovie) -> None:
        """Take a movie proven complete; its size and time may have moved since it was seen."""
        ...

    async def quarantined(self, movie: RefusedMovie) -> None:
        """Take a movie that stays broken."""
        ...

    async def vanished(self, files: Sequence[FileIdentity]) -> None:
        """Take movies that are no longer there."""
        ...

    async def rewritten(self, files: Sequence[ChangedFile]) -> None:
        """Take movies that changed after they had been judged; they are being judged again."""
        ...

    async def troubled(self, problems: Sequence[WatchProblem]) -> None:
        """Take what keeps places or files from being watched."""
        ...

    async def recovered(self, paths: Sequence[Path]) -> None:
        """Take places and files whose trouble is over."""
        ...
