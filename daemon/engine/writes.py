"""The files of one attempt, written behind: waiting for them, and taking them back."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

import structlog

from daemon.engine.threads import FileThreads
from daemon.engine.troubles import Troubles
from daemon.pipeline.result import OutputFile

log = structlog.get_logger(__name__)

T = TypeVar("T")

Writes = Sequence["Future[OutputFile]"]

_WRITERS = "writers_stuck"
"""Kind of the trouble that writes do not return."""
_PATIENCE_S = 300.0
"""How long files may be on their way to disk until that is told: longer than any mount that works takes."""


async def settle_writes(files: Writes, what: str, writers: FileThreads, troubles: Troubles) -> list[OutputFile]:
    """Wait until every file is on disk and return them in order; raises what the first of them raised.

    A write can be neither taken back nor left alone, as its file may still appear: one that does not return is
    waited for however long, which is told. `what` are the files, for people.
    """
    outputs: list[OutputFile] = []
    for end in await _wait_telling([asyncio.wrap_future(file) for file in files], f"Writing {what}", writers, troubles):
        if isinstance(end, BaseException):
            raise end
        outputs.append(end)
    return outputs


async def discard_writes(files: Writes, home: Path, what: str, writers: FileThreads, troubles: Troubles) -> None:
    """End the writes of an attempt that did not succeed and remove what they wrote.

    Nothing of it is under way afterwards, so that it never races with a later attempt, and no file stands in the home
    that no record speaks of. A file system that does not answer holds up this movie alone, and is told with the path.
    """
    for file in files:
        file.cancel()
    begun = [asyncio.wrap_future(file) for file in files if not file.cancelled()]
    ends = await _wait_telling(begun, f"Ending the writing of {what}", writers, troubles)
    paths = [home / end.path for end in ends if isinstance(end, OutputFile)]
    if paths:
        removal = asyncio.wrap_future(writers.submit(_remove, paths))
        await _wait_telling([removal], f"Removing {', '.join(map(str, paths))}", writers, troubles)


async def _wait_telling(
    waited: Sequence["asyncio.Future[T]"], what: str, writers: FileThreads, troubles: Troubles
) -> list[T | BaseException]:
    """Wait for all, however long, and return how each ended; what takes longer than any mount that works is told."""
    _, late = await asyncio.wait(waited, timeout=_PATIENCE_S) if waited else ((), ())
    if late:
        writers.note(what, is_stuck=True)
        message = f"{what} has not ended for {_PATIENCE_S:.0f} s."
        await troubles.begin(_WRITERS, message, "The home's file system hangs: check the mount; it goes on by itself.")
    ends = await asyncio.gather(*waited, return_exceptions=True)
    if late:
        writers.note(what, is_stuck=False)
        if not writers.stuck:
            await troubles.end(_WRITERS, "Files can be written again.")
    return ends


def _remove(paths: Sequence[Path]) -> None:
    for path in paths:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            # The next attempt writes over it; until then the audit names it.
            log.warning("output of a failed attempt not removed", path=str(path), reason=str(error))
