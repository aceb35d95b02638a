"""Accepts and rejects micrographs by hand; what a person says stands above the gates, by the same mechanism."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import anyio.to_thread
import structlog

from daemon.domain.session import Session
from daemon.engine.answers import Handler
from daemon.engine.engine import Engine
from daemon.engine.lookup import find_images, find_session
from daemon.engine.tuning import Tuning
from daemon.errors import CommandRefused, FileUnanswered, FileUnreadable
from daemon.formats.detached import PatientCalls
from daemon.messages.micrographs import ImageMark
from daemon.sessions.mark_journal import Word, take_up_words, tell_marks, write_word
from daemon.store import sessions
from daemon.store.marks import Mark

log = structlog.get_logger(__name__)

_READ_LIMIT_S = 30.0
"""How long the records of a session may take to be read at the start."""

_SAID: Mapping[bool | None, str] = {True: "accepted", False: "rejected", None: "left to the gates"}


class Marking:
    """Commands that accept images, reject them, or leave them to the gates again."""

    def __init__(self, engine: Engine, tuning: Tuning) -> None:
        self._engine = engine
        self._recorder = engine.recorder
        self._tuning = tuning
        self._calls = PatientCalls(_READ_LIMIT_S)

    def handlers(self) -> Mapping[str, Handler]:
        """Return every handler this class has."""
        return {"image.accept": self.accept, "image.reject": self.reject, "image.unmark": self.unmark}

    async def accept(self, command: ImageMark, asked_by: str) -> dict[str, Any]:
        """Let images pass whatever the gates say."""
        return await self._mark(command, True, asked_by)

    async def reject(self, command: ImageMark, asked_by: str) -> dict[str, Any]:
        """Keep images from the stages that are gated, whatever the gates say."""
        return await self._mark(command, False, asked_by)

    async def unmark(self, command: ImageMark, asked_by: str) -> dict[str, Any]:
        """Leave images to the gates again."""
        return await self._mark(command, None, asked_by)

    async def _mark(self, command: ImageMark, passes: bool | None, asked_by: str) -> dict[str, Any]:
        store, keeper = self._engine.store, self._engine.gatekeeper
        session = await find_session(store, command.session)
        chosen = await find_images(store, session.session_id, command.images, command.where)
        if not chosen:
            raise CommandRefused("No micrograph is named.", hint="Name some, or give a condition that holds for some.")
        mark = None if passes is None else Mark(passes, asked_by, command.why)
        set_here = keeper.set_limits(session.session_id)
        async with self._recorder.deciding:
            moved = await self._tuning.plan(session, set_here, dict.fromkeys(chosen, mark))
            judged = {figures.image_id for figures, _ in moved.judged}
            strays = sorted(name for image_id, name in chosen.items() if image_id not in judged)
            if strays:
                more = f" and {len(strays) - 1} more" if len(strays) > 1 else ""
                raise CommandRefused(
                    f"{strays[0]}{more} cannot be judged: no step that the gates go by is asked of it.",
                    hint="Wait until its movie is complete; one that was set aside is not judged at all.",
                )
            answer = {**moved.answer(preview=command.preview), "images": len(chosen)}
            if command.preview:
                return answer
            if command.token not in {None, moved.token}:
                raise CommandRefused(
                    "What was previewed is not what would happen now: more images were judged since.",
                    hint="Preview again.",
                )
            # First: should the daemon end before all of it is applied, the next one goes on with it.
            word = Word(session.session_id, passes, asked_by, command.why, self._recorder.now_s(), chosen)
            await self._commit(session, word)
            await self._tuning.apply(session, moved, asked_by, f"{_SAID[passes]} by hand,")
        return answer

    async def take_up(self) -> None:
        """Tell the database what the records of sessions hold of what people said, and it has not heard.

        At the start of the daemon: the one before it died between record and database, or left an older database.
        Raises StoreUnavailable.
        """
        for row in await sessions.sessions(self._engine.store):
            try:
                await take_up_words(
                    self._engine.store, self._recorder.subjects, row.session, self._recorder.deciding, self._calls
                )
            except (FileUnanswered, FileUnreadable) as error:
                log.warning(
                    "what people said of images cannot be read; the database has what it heard of it",
                    session=row.session.name,
                    reason=str(error),
                )
        self._recorder.on_event()

    async def _commit(self, session: Session, word: Word) -> None:
        """Write it beside the results, then tell the database. Raises FileNotWritten: then nothing is said."""
        rules = self._recorder.rules
        write = partial(write_word, session.home, word, mode=rules.mode, group=rules.group)
        await anyio.to_thread.run_sync(write)
        told = tell_marks(
            self._recorder.subjects, session, [(mark, word.images[mark.image_id]) for mark in word.marks()]
        )
        await self._recorder.commit(word.marks(), told)
