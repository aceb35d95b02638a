"""Every command that needs no more than store and engine, by name, as the responder wants them."""

from collections.abc import Mapping
from typing import Any

from daemon.domain.states import SessionState
from daemon.engine.answers import Handler
from daemon.engine.cancelling import Cancelling
from daemon.engine.engine import Engine
from daemon.engine.lookup import find_jobs, find_session
from daemon.engine.marking import Marking
from daemon.engine.pausing import Pausing
from daemon.engine.redoing import Redoing
from daemon.engine.tuning import Tuning
from daemon.errors import CommandRefused
from daemon.messages import commands
from daemon.sessions.closing import SessionCloser
from daemon.store import sessions
from daemon.store.changes import MarkJob


class Controls:
    """What people may do to what the daemon works on. Every act is recorded with who asked and why."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._store = engine.store
        self._recorder = engine.recorder
        self.cancelling = Cancelling(engine)
        self.redoing = Redoing(engine)
        self.pausing = Pausing(engine)
        self.tuning = Tuning(engine)
        self.marking = Marking(engine, self.tuning)
        self.closer = SessionCloser(
            engine.store, engine.recorder.subjects, engine.recorder.on_event, engine.recorder.now_s
        )

    def handlers(self) -> Mapping[str, Handler]:
        """Return every handler this class and its parts have."""
        return {
            "session.close": self.close_session,
            "session.pause": self.pausing.pause_session,
            "session.resume": self.pausing.resume_session,
            "session.thresholds": self.tuning.move_gates,
            "job.cancel": self.cancelling.cancel_job,
            "job.complete": self.complete_job,
            "task.retry": self.redoing.retry,
            "task.cancel": self.cancelling.cancel_tasks,
            "stage.reprocess": self.redoing.reprocess,
            "stage.parameters": self.tuning.set_values,
            "stage.pause": self.pausing.pause_stage,
            "stage.resume": self.pausing.resume_stage,
            "node.pause": self.pausing.pause_node,
            "node.resume": self.pausing.resume_node,
            **self.marking.handlers(),
            "gates": self.tuning.gates,
            "parameters": self.tuning.parameters,
        }

    async def close_session(self, command: commands.SessionClose, asked_by: str) -> dict[str, Any]:
        """Expect no more movies of a session: it is closed when all that is owed is done."""
        session = await find_session(self._store, command.session)
        unfinished = ""
        if session.state is SessionState.OPEN:
            left = await self.closer.begin(session, command.reason or "closed by command", asked_by=asked_by)
            unfinished = left.describe()
        return {"session_id": session.session_id, "closed": not unfinished, "unfinished": unfinished}

    async def complete_job(self, command: commands.JobComplete, asked_by: str) -> dict[str, Any]:
        """Declare jobs completed; what is open of them goes on, and no longer counts."""
        jobs = [job for job in await find_jobs(self._store, command.job) if job.completed_by is None]
        if not jobs:
            raise CommandRefused(f"{command.job} is marked completed already.")
        for job in jobs:
            if job.cancelled_by is not None:
                raise CommandRefused(f"Job {job.job_id} was cancelled by {job.cancelled_by}.")
        at_s = self._recorder.now_s()
        await self._recorder.commit(
            [MarkJob(job.job_id, completed_by=asked_by, reason=command.why, at_s=at_s) for job in jobs], []
        )
        names = {row.session.session_id: row.session.name for row in await sessions.sessions(self._store)}
        return {"jobs": [job.job_id for job in jobs], "sessions": [names[job.session_id] for job in jobs]}
