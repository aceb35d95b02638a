"""Accepts and rejects micrographs by hand; what a person says stands above the gates, by the same mechanism."""

from collections.abc import Mapping
from typing import Any

from daemon.domain.session import Session
from daemon.engine.answers import Handler
from daemon.engine.engine import Engine
from daemon.engine.lookup import find_images, find_session
from daemon.engine.tuning import Tuning
from daemon.errors import CommandRefused
from daemon.messages import events
from daemon.messages.envelope import Event
from daemon.messages.events import SessionRef
from daemon.messages.micrographs import ImageMark
from daemon.store.marks import Mark, MarkImage

_SAID: Mapping[bool | None, str] = {True: "accepted", False: "rejected", None: "left to the gates"}


class Marking:
    """Commands that accept images, reject them, or leave them to the gates again."""

    def __init__(self, engine: Engine, tuning: Tuning) -> None:
        self._engine = engine
        self._recorder = engine.recorder
        self._tuning = tuning

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
            await self._commit(session, chosen, passes, command.why, asked_by)
            await self._tuning.apply(session, moved, asked_by, f"{_SAID[passes]} by hand,")
        return answer

    async def _commit(
        self, session: Session, chosen: Mapping[str, str], passes: bool | None, why: str, asked_by: str
    ) -> None:
        at_s = self._recorder.now_s()
        ref = SessionRef(session.session_id, session.name)
        changes: list[MarkImage] = []
        told: list[Event] = []
        for image_id, name in chosen.items():
            changes.append(MarkImage(session.session_id, image_id, passes, asked_by, why, at_s=at_s))
            told.append(
                events.image_marked(
                    self._recorder.subjects,
                    ref,
                    image_id=image_id,
                    image_name=name,
                    passes=passes,
                    asked_by=asked_by,
                    why=why,
                    at_s=at_s,
                )
            )
        await self._recorder.commit(changes, told)
