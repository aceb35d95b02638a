"""The files of one attempt, written behind: waiting for them, and taking them back."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor, Future
from pathlib import Path

import structlog

from daemon.engine.threads import FileThreads
from daemon.engine.troubles import Troubles
from daemon.pipeline.result import OutputFile

log = structlog.get_logger(__name__)

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
    waited = [asyncio.wrap_future(file) for file in files]
    _, late = await asyncio.wait(waited, timeout=_PATIENCE_S) if waited else ((), ())
    if late:
        writers.note(what, is_stuck=True)
        message = f"Writing the {what} has not ended for {_PATIENCE_S:.0f} s."
        await troubles.begin(_WRITERS, message, "The home's file system hangs: check the mount; it goes on by itself.")
    ends = await asyncio.gather(*waited, return_exceptions=True)
    if late:
        writers.note(what, is_stuck=False)
        if not writers.stuck:
            await troubles.end(_WRITERS, "Files can be written again.")
    outputs: list[OutputFile] = []
    for end in ends:
        if isinstance(end, BaseException):
            raise end
        outputs.append(end)
    return outputs


async def discard_writes(files: Writes, home: Path, writers: Executor) -> None:
    """End the writes of an attempt that did not succeed and remove what they wrote.

    Nothing of it is under way afterwards, so that it never races with a later attempt, and no file
    stands in the home that no record speaks of.
    """
    for file in files:
        file.cancel()
    ends = await asyncio.gather(
        *(asyncio.wrap_future(file) for file in files if not file.cancelled()), return_exceptions=True
    )
    paths = [home / end.path for end in ends if isinstance(end, OutputFile)]
    if paths:
        await asyncio.wrap_future(writers.submit(_remove, paths))


def _remove(paths: Sequence[Path]) -> None:
    for path in paths:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            # The next attempt writes over it; until then the audit names it.
            log.warning("output of a failed attempt not removed", path=str(path), reason=str(error))
