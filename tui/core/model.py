"""All that the terminal knows of the daemon, and what each batch of news changes in it."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from daemon.messages import event_data as kinds
from daemon.messages.event_data import JobSummary, LogLine, NodeHeartbeat, SessionData, StageHeartbeat, StepData
from daemon.messages.news import NotificationsAnswer
from tui.core.calling import call_session
from tui.core.jobs import Jobs
from tui.core.link_state import LinkState
from tui.core.matrix import Matrix
from tui.core.notifications import Notifications

_LOG_LINES = 2000
_NOTICES = 500
_LATELY = 500


@dataclass(frozen=True)
class Queues:
    """The daemon's answer to `queues`: depths, the byte budget, and what is paused by whom."""

    data: dict[str, Any]

    @property
    def paused(self) -> list[dict[str, Any]]:
        """What is paused."""
        return list(self.data.get("paused", ()))


News = JobSummary | kinds.EventData | Queues | LinkState | NotificationsAnswer
"""Whatever the link brings."""


@dataclass
class Changes:
    """What a batch of news touched; screens draw just that."""

    job_rows: set[int] = field(default_factory=set)
    jobs_added: bool = False
    jobs_moved: set[str] = field(default_factory=set)
    """Ids of jobs of which a task or a count moved."""
    tasks: set[str] = field(default_factory=set)
    """Tasks that something was told of: a state, progress or a log line."""
    sessions: set[str] = field(default_factory=set)
    """Ids of sessions that something was told of."""
    nodes: bool = False
    queues: bool = False
    notifications: bool = False
    link: bool = False
    resync: bool = False
    """Connected anew: whatever was asked for is to be asked for again."""


class Model:
    """What the terminal knows. Only `take`, `matrix` and `choose` change it; reading it is free."""

    def __init__(self) -> None:
        self.link = LinkState()
        self.jobs = Jobs()
        self.matrices: dict[str, Matrix] = {}
        self.nodes: dict[str, NodeHeartbeat] = {}
        self.stages: dict[str, StageHeartbeat] = {}
        self.queues = Queues({})
        self.logs: deque[LogLine] = deque(maxlen=_LOG_LINES)
        self.steps: deque[StepData] = deque(maxlen=_LATELY)
        """The latest step events but progress: started, completed with metrics, failed with errors, …"""
        self.notices: deque[SessionData] = deque(maxlen=_NOTICES)
        """The latest session events: imported, closed, movies, advice, notifications."""
        self.notifications = Notifications()
        self._chosen = ""

    def take(self, news: Iterable[News]) -> Changes:
        """Take a batch and say what it touched."""
        changes = Changes()
        for item in news:
            self._take_one(item, changes)
        return changes

    def matrix(self, job_id: str) -> Matrix:
        """Return the matrix of a job, an empty one at first."""
        return self.matrices.setdefault(job_id, Matrix(job_id))

    def log_of(self, task_id: str) -> list[LogLine]:
        """Return the lines of a task that were told since this terminal was opened."""
        return [line for line in self.logs if line.task_id == task_id]

    def session_names(self) -> list[str]:
        """Names of the sessions that have a job, newest first."""
        jobs = self.jobs.rows[::-1]  # of those that began together, the one that was told of last
        jobs.sort(key=lambda job: job.started_s or 0.0, reverse=True)
        return list(dict.fromkeys(job.session for job in jobs))

    def choose(self, session: str) -> None:
        """Let the screens of one session be about this one."""
        self._chosen = session

    def chosen_session(self) -> str | None:
        """Return the session that the screens of one session are about, None where there is none.

        The newest there was when it was asked for first; from then on only a person changes it, never an arrival.
        """
        names = self.session_names()
        if self._chosen not in names:
            self._chosen = names[0] if names else ""
        return self._chosen or None

    def title_of(self, session: str) -> str:
        """Return the title of a session by its name, empty where it has none."""
        return next((job.summary.title for job in self.jobs if job.session == session and job.summary.title), "")

    def call(self, session: str) -> str:
        """Return what a session is called, in one line."""
        return call_session(self.title_of(session), session)

    def pause_of(self, session_id: str | None, stage: str | None = None) -> dict[str, Any] | None:
        """Return the pause of a session, a stage, a stage of a session, or (neither) the node."""
        for pause in self.queues.paused:
            if (pause["session_id"], pause["stage"]) == (session_id, stage):
                return pause
        return None

    def _take_one(self, item: News, changes: Changes) -> None:
        if isinstance(item, JobSummary):
            before = len(self.jobs)
            changes.job_rows.add(self.jobs.take(item))
            changes.jobs_added |= len(self.jobs) > before
            changes.jobs_moved.add(item.job_id)
        elif isinstance(item, kinds.StepData):
            self._take_step(item, changes)
        elif isinstance(item, LogLine):
            self.logs.append(item)
            changes.tasks.add(item.task_id)
        elif isinstance(item, kinds.SessionData) and not isinstance(item, kinds.JobData):
            self._take_notice(item, changes)
        elif isinstance(item, NotificationsAnswer):
            self.notifications.take_answer(item)
            changes.notifications = True
        elif isinstance(item, NodeHeartbeat):
            self.nodes[item.host] = item
            changes.nodes = True
        elif isinstance(item, StageHeartbeat):
            self.stages[item.stage] = item
            changes.nodes = True
        elif isinstance(item, Queues):
            changes.queues |= item != self.queues
            self.queues = item
        elif isinstance(item, LinkState):
            changes.resync |= item.is_connected and item.connections != self.link.connections
            changes.link = True
            self.link = item

    def _take_notice(self, item: SessionData, changes: Changes) -> None:
        self.notices.append(item)
        changes.sessions.add(item.session_id)
        if isinstance(item, kinds.Notification):
            self.notifications.take_event(item)
            changes.notifications = True

    def _take_step(self, item: StepData, changes: Changes) -> None:
        changes.tasks.add(item.task_id)
        if isinstance(item, kinds.StepProgress):
            matrix = self.matrices.get(item.job_id)
            if matrix is not None:
                matrix.put_progress(item.task_id, item.percent)
        else:
            self.steps.append(item)
            changes.jobs_moved.add(item.job_id)
