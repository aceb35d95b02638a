"""Pauses the node, sessions and stages, and resumes them; what runs is finished, nothing new begins."""

from dataclasses import asdict
from typing import Any

from daemon.domain.states import MovieState
from daemon.engine.engine import Engine
from daemon.engine.lookup import check_stage, find_session_id
from daemon.engine.pauses import Pause
from daemon.errors import CommandRefused
from daemon.messages import commands
from daemon.store import ledger, sessions
from daemon.store.changes import SetControl


class Pausing:
    """Commands that pause and resume."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._store = engine.store
        self._pauses = engine.pauses

    async def pause_stage(self, command: commands.StagePause, asked_by: str) -> dict[str, Any]:
        """Begin no more tasks of a stage."""
        check_stage(self._engine.graph, command.stage)
        return await self._pause(command.session, command.stage, command.why, asked_by)

    async def pause_session(self, command: commands.SessionPause, asked_by: str) -> dict[str, Any]:
        """Begin no more tasks of a session."""
        return await self._pause(command.session, None, command.why, asked_by)

    async def pause_node(self, command: commands.NodePause, asked_by: str) -> dict[str, Any]:
        """Begin no more tasks."""
        return await self._pause(None, None, command.why, asked_by)

    async def resume_stage(self, command: commands.StagePause, asked_by: str) -> dict[str, Any]:
        """End the pause of a stage."""
        return await self._resume(command.session, command.stage, command.why, asked_by)

    async def resume_session(self, command: commands.SessionPause, asked_by: str) -> dict[str, Any]:
        """End the pause of a session."""
        return await self._resume(command.session, None, command.why, asked_by)

    async def resume_node(self, command: commands.NodePause, asked_by: str) -> dict[str, Any]:
        """End the pause of the node."""
        return await self._resume(None, None, command.why, asked_by)

    async def standing(self) -> list[dict[str, Any]]:
        """Return every pause with the name of its session, as status shows them."""
        names = {row.session.session_id: row.session.name for row in await sessions.sessions(self._store)}
        return [{**asdict(pause), "session": names.get(pause.session_id or "")} for pause in self._pauses.standing()]

    async def _pause(self, session: str | None, stage: str | None, why: str, asked_by: str) -> dict[str, Any]:
        session_id = await find_session_id(self._store, session)
        at_s = self._engine.recorder.now_s()
        await self._store.commit(SetControl("pause", session_id, stage, {}, asked_by, why, at_s))
        self._pauses.add(Pause(session_id, stage, asked_by, why, at_s))
        return {"paused": await self.standing()}

    async def _resume(self, session: str | None, stage: str | None, why: str, asked_by: str) -> dict[str, Any]:
        session_id = await find_session_id(self._store, session)
        if self._pauses.find(session_id, stage) is None:
            what = " of ".join(word for word in (stage, session) if word) or "The node"
            known = "; ".join(_describe(pause) for pause in await self.standing()) or "nothing"
            raise CommandRefused(f"{what} is not paused.", hint=f"Paused: {known}.")
        at_s = self._engine.recorder.now_s()
        await self._store.commit(SetControl("pause", session_id, stage, None, asked_by, why, at_s))
        self._pauses.remove(session_id, stage)
        known_ids = [row.session.session_id for row in await sessions.sessions(self._store)]
        for one in known_ids if session_id is None else [session_id]:
            for movie in await ledger.movies(self._store, one, (MovieState.COMPLETE,)):
                self._engine.scheduler.offer(movie.movie_id, movie.last_write_s)
        self._engine.scheduler.look_again()
        return {"paused": await self.standing()}


def _describe(pause: dict[str, Any]) -> str:
    return " of ".join(word for word in (pause["stage"], pause["session"]) if word) or "the node"
