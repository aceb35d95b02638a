"""What the log says while a session's files are entered: whose they are, whoever says it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import structlog

from daemon.domain.movie import FileIdentity
from daemon.watchers.found import RefusedMovie
from daemon.watchers.ledger_sink import LedgerSink

log = structlog.get_logger("somewhere below")
MOVIE = FileIdentity(Path("/gpfs/24dec03a/frames/x.tif"), 1, 2)


class TalkingIntake:
    """Says something for each thing it is given."""

    async def seen(self, files: Sequence[FileIdentity]) -> None:
        log.info("seen", count=len(files))

    async def complete(self, identity: FileIdentity, frame_count: int | None, reason: str) -> None:
        log.info("complete")

    async def quarantined(self, identity: FileIdentity, reason: str) -> None:
        log.info("entered")

    async def ignored(self, files: Sequence[tuple[FileIdentity, str]]) -> None:
        log.info("ignored")

    async def vanished(self, files: Sequence[FileIdentity]) -> None:
        log.info("vanished")

    async def rewritten(self, before: FileIdentity, now: FileIdentity) -> None:
        log.info("rewritten")


@pytest.mark.anyio
async def test_every_line_names_the_session_and_the_file_that_it_is_about() -> None:
    sink = LedgerSink("24dec03a", TalkingIntake())
    with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        await sink.seen([])
        await sink.vanished([MOVIE])
        await sink.quarantined(RefusedMovie(MOVIE, "it is torn"))
        log.info("another matter")
    told: dict[str, Any] = {line["event"]: (line.get("session"), line.get("path")) for line in lines}
    assert told == {
        "seen": ("24dec03a", None),
        "vanished": ("24dec03a", None),
        "movie quarantined": ("24dec03a", str(MOVIE.path)),
        "entered": ("24dec03a", str(MOVIE.path)),
        "another matter": (None, None),
    }
