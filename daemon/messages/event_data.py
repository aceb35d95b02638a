"""What stands in `data` of every kind of event. Fields may be added, never renamed or removed."""

from typing import Annotated, Literal

import msgspec

from daemon.messages.envelope import Timestamp
from daemon.messages.error_info import ErrorInfo
from daemon.messages.live import DiskLoad, Outlook

MetricValue = float | int | str | bool | None
Percent = Annotated[float, msgspec.Meta(ge=0, le=100)]


class EventData(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all: when it happened."""

    ts: Timestamp


class StepData(EventData, frozen=True, kw_only=True):
    """One attempt at one step of one image; `step` is the slug on the bus."""

    job_id: str
    task_id: str
    image_id: str
    image_name: str
    step: str
    attempt: int


class StepStarted(StepData, frozen=True, kw_only=True):
    """A stage began to work on an image."""


class StepProgress(StepData, frozen=True, kw_only=True):
    """How far a running step is: `current` of `total` `unit`s."""

    percent: Percent
    current: int
    total: int
    unit: str
    message: str = ""


class StepCompleted(StepData, frozen=True, kw_only=True):
    """A step ended well; paths of `output_files` are relative to the session home."""

    output_files: list[str]
    metrics: dict[str, MetricValue]
    warnings: list[str] = []
    duration_s: float | None = None


class StepFailed(StepData, frozen=True, kw_only=True):
    """A step ended in an error, after its last attempt."""

    error: ErrorInfo


class StepCancelled(StepData, frozen=True, kw_only=True):
    """Someone cancelled the step."""

    reason: str
    asked_by: str = ""


class StepSkipped(StepData, frozen=True, kw_only=True):
    """A gate refused the image, or the step cannot apply to it."""

    reason: str


class JobData(EventData, frozen=True, kw_only=True):
    """One job of one session."""

    job_id: str
    session_id: str
    session: str
    kind: str


class JobStarted(JobData, frozen=True, kw_only=True):
    """A job exists and its first tasks wait."""

    steps: list[str]


class JobProgress(JobData, frozen=True, kw_only=True):
    """How many of a job's tasks are in each state."""

    tasks: dict[str, int]
    percent: Percent


class JobCompleted(JobData, frozen=True, kw_only=True):
    """Every task of the job is terminal and its session is closed."""

    tasks: dict[str, int]


class JobCancelled(JobData, frozen=True, kw_only=True):
    """Someone cancelled the job."""

    asked_by: str


class SessionData(EventData, frozen=True, kw_only=True):
    """One microscope session."""

    session_id: str
    session: str


class SessionImported(SessionData, frozen=True, kw_only=True):
    """A session is known and watched."""

    job_id: str
    raw_directory: str
    home: str
    image_count: int
    asked_by: str = ""


class SessionClosed(SessionData, frozen=True, kw_only=True):
    """No more movies are expected; late ones reopen the session."""

    reason: str
    asked_by: str = ""


class SessionReopened(SessionData, frozen=True, kw_only=True):
    """Movies are expected again: a late one came, or a person asked. Its job runs again."""

    reason: str
    asked_by: str = ""


class MovieSeen(SessionData, frozen=True, kw_only=True):
    """A movie file appeared; nothing is known about its completeness yet."""

    movie_id: str
    path: str
    size_bytes: int


class MovieProven(SessionData, frozen=True, kw_only=True):
    """A movie's bytes prove it whole; its tasks are waiting."""

    movie_id: str
    path: str
    size_bytes: int
    image_id: str
    image_name: str


class MovieQuarantined(SessionData, frozen=True, kw_only=True):
    """A movie cannot be used as it is; the original may still be at the camera."""

    movie_id: str
    path: str
    reason: str


Severity = Literal["info", "warning", "critical"]


class Advice(SessionData, frozen=True, kw_only=True):
    """What the person at the microscope should consider."""

    advice_id: str
    kind: str
    severity: Severity
    message: str
    image_id: str | None = None


class Notification(SessionData, frozen=True, kw_only=True):
    """Something a person should know, kept in the notification history."""

    notification_id: str
    severity: Severity
    message: str


class ImageMarked(SessionData, frozen=True, kw_only=True):
    """Someone accepted a micrograph by hand, rejected it, or (`passes` null) left it to the gates again."""

    image_id: str
    image_name: str
    passes: bool | None
    asked_by: str
    why: str = ""


class LogLine(EventData, frozen=True, kw_only=True):
    """One line of a task's live log."""

    job_id: str
    task_id: str
    level: Literal["debug", "info", "warning", "error"]
    message: str


class StageHeartbeat(EventData, frozen=True, kw_only=True):
    """A stage is alive: its tasks by state, but those of files that were left alone (superseded, vanished, ignored)."""

    host: str
    instance: str
    category: str
    stage: str
    waiting: int
    running: int
    completed: int
    failed: int


class DeviceLoad(msgspec.Struct, frozen=True, kw_only=True):
    """One compute device; `utilisation_percent` is the share of the time since the last beat that steps computed."""

    name: str
    utilisation_percent: float | None = None
    memory_used_bytes: int | None = None
    memory_total_bytes: int | None = None


class NodeHeartbeat(EventData, frozen=True, kw_only=True):
    """A machine is alive: its load, its devices, its queues."""

    host: str
    instance: str
    pid: int
    version: str
    uptime_s: float
    cpu_percent: float | None
    memory_used_bytes: int
    devices: list[DeviceLoad]
    queues: dict[str, int]
    counters: dict[str, int] = {}
    disks: list[DiskLoad] = []
    outlook: Outlook | None = None


class JobSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The value kept for each job in the bucket `elcano-<instance>-jobs`, for those who come late."""

    job_id: str
    session_id: str
    session: str
    kind: str
    state: str
    steps: dict[str, dict[str, int]]
    """For each step, how many tasks are in each state; those of movies that were superseded, vanished or ignored are
    left out."""
    updated_at: Timestamp
    created_at: Timestamp | None = None
    session_state: str = ""
    """Whether more movies are expected: open or closed."""
    title: str = ""
    """As people named the session, else empty."""
    cancelled_by: str | None = None
    completed_by: str | None = None
    """Who cancelled the job, or declared it completed."""
    processed_lately: list[int] = []
    """Movies done with nothing failed in each of the last minutes of the clock, up to that of `updated_at`."""
