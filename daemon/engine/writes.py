"""The files of one attempt, written behind: waiting for them, and taking them back."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor, Future
from pathlib import Path

import structlog

from daemon.pipeline.result import OutputFile

log = structlog.get_logger(__name__)

Writes = Sequence["Future[OutputFile]"]


async def settle_writes(files: Writes) -> list[OutputFile]:
    """Wait until every file is on disk and return them in order; raises what the first of them raised."""
    ends = await asyncio.gather(*map(asyncio.wrap_future, files), return_exceptions=True)
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
