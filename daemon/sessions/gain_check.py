"""A counting movie without a gain reference is a mistake that shows only in the results: it is told once a session."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import structlog

from daemon.domain.acquisition import Acquisition
from daemon.domain.movie import MovieFormat, MovieHeader
from daemon.errors import READ_AGAIN, ElcanoError
from daemon.formats.detached import PatientCalls
from daemon.formats.movie import read_movie_header
from daemon.messages.events import SessionRef
from daemon.sessions.telling import Teller, notice
from daemon.store import sessions
from daemon.store.changes import PutDecision

log = structlog.get_logger(__name__)

GAIN_MISSING = "gain_missing"
"""Kind of the notification, and key of the decision that it was told."""


_COUNTING = ("int8", "uint8")


class GainCheck:
    """Looks at the first whole movie of a session for which no gain is known."""

    def __init__(self, teller: Teller, session: SessionRef, clock_s: Callable[[], float], calls: PatientCalls) -> None:
        self._teller = teller
        self._session = session
        self._clock_s = clock_s
        self._calls = calls
        self._is_over = False

    async def look(self, path: Path, acquisition: Acquisition) -> None:
        """Look at a movie that is whole; with a header that cannot be read, the next movie is looked at."""
        if self._is_over or acquisition.gain is not None:
            return
        try:
            header = await self._calls.call(path.parent, partial(read_movie_header, path))
        except ElcanoError as error:
            log.debug("no header to judge the gain by", path=str(path), reason=str(error))
            return
        self._is_over = True
        if not _counts(header):
            return
        if GAIN_MISSING in await sessions.decisions(self._teller.store, self._session.session_id):
            return
        message = (
            f"No gain reference is known for {self._session.session}, and its movies hold counts: "
            "they are taken as if the camera had corrected them."
        )
        hint = (
            "If it has not, give acquisition.gain in a [[session]] entry of config.toml or in session.json, "
            f"{READ_AGAIN}."
        )
        log.warning("no gain reference", session=self._session.session, movies=header.dtype)
        change, event = notice(
            self._teller.subjects, self._session, kind=GAIN_MISSING, message=message, hint=hint, at_s=self._clock_s()
        )
        told = PutDecision(self._session.session_id, GAIN_MISSING, value=True)
        await self._teller.commit([change, told], [event])


def _counts(header: MovieHeader) -> bool:
    """Whether frames hold what the camera counted; wider integers mostly hold what a program corrected and scaled."""
    return header.format is MovieFormat.EER or header.dtype in _COUNTING
