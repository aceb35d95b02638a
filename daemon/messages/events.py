"""One function per event: from plain values to (subject, envelope).

The id of a state event is made from its source and what happened, so the same fact told twice has the same
id. Facts that may recur for one attempt (a task cancelled, reopened and cancelled again) have their time in it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from daemon.domain.identity import stable_id
from daemon.messages import event_data as kinds
from daemon.messages.envelope import Envelope, Event, utc
from daemon.messages.error_info import ErrorInfo
from daemon.messages.subjects import Subjects


@dataclass(frozen=True)
class TaskRef:
    """Which attempt at which step of which image; `step` is the slug on the bus (CTF estimation is `ctf`)."""

    job_id: str
    task_id: str
    image_id: str
    image_name: str
    step: str
    attempt: int


@dataclass(frozen=True)
class JobRef:
    """Which job of which session."""

    job_id: str
    session_id: str
    session: str
    kind: str


@dataclass(frozen=True)
class SessionRef:
    """Which session, by id and by name."""

    session_id: str
    session: str


def step_started(subjects: Subjects, task: TaskRef, *, at_s: float) -> Event:
    """Tell that an attempt began."""
    data = kinds.StepStarted(ts=utc(at_s), **_fields(task))
    return _step_event(subjects, task, "magellon.step.started", _attempt(task, "started"), data)


def step_progress(
    subjects: Subjects, task: TaskRef, *, current: int, total: int, unit: str, at_s: float, message: str = ""
) -> Event:
    """Tell how far an attempt is; best effort, at most a few a second. `total` ≤ 0 means unknown, 0 %."""
    percent = min(100.0, max(0.0, 100.0 * current / total)) if total > 0 else 0.0
    data = kinds.StepProgress(
        ts=utc(at_s), percent=percent, current=current, total=total, unit=unit, message=message, **_fields(task)
    )
    fact = (task.task_id, str(task.attempt), "progress", f"{at_s:.6f}", str(current))
    return _step_event(subjects, task, "magellon.step.progress", fact, data)


def step_completed(
    subjects: Subjects,
    task: TaskRef,
    *,
    output_files: Sequence[str],
    metrics: Mapping[str, kinds.MetricValue],
    at_s: float,
    warnings: Sequence[str] = (),
    duration_s: float | None = None,
) -> Event:
    """Tell that an attempt ended well; paths are relative to the session home."""
    data = kinds.StepCompleted(
        ts=utc(at_s),
        output_files=list(output_files),
        metrics=dict(metrics),
        warnings=list(warnings),
        duration_s=duration_s,
        **_fields(task),
    )
    return _step_event(subjects, task, "magellon.step.completed", _attempt(task, "completed"), data)


def step_failed(subjects: Subjects, task: TaskRef, *, error: ErrorInfo, at_s: float) -> Event:
    """Tell that the last attempt ended in an error."""
    data = kinds.StepFailed(ts=utc(at_s), error=error, **_fields(task))
    return _step_event(subjects, task, "magellon.step.failed", _attempt(task, "failed"), data)


def step_cancelled(subjects: Subjects, task: TaskRef, *, reason: str, at_s: float, asked_by: str = "") -> Event:
    """Tell that someone cancelled a step."""
    data = kinds.StepCancelled(ts=utc(at_s), reason=reason, asked_by=asked_by, **_fields(task))
    return _step_event(subjects, task, "magellon.step.cancelled", _attempt(task, "cancelled", at_s), data)


def step_skipped(subjects: Subjects, task: TaskRef, *, reason: str, at_s: float) -> Event:
    """Tell that a gate refused an image."""
    data = kinds.StepSkipped(ts=utc(at_s), reason=reason, **_fields(task))
    return _step_event(subjects, task, "magellon.step.skipped", _attempt(task, "skipped", at_s), data)


def job_started(subjects: Subjects, job: JobRef, *, steps: Sequence[str], at_s: float) -> Event:
    """Tell that a job exists."""
    data = kinds.JobStarted(ts=utc(at_s), steps=list(steps), **_fields(job))
    return _job_event(subjects, job, "started", (job.job_id, "started"), data)


def job_progress(subjects: Subjects, job: JobRef, *, tasks: Mapping[str, int], percent: float, at_s: float) -> Event:
    """Tell how far a job is, by counts of task states; best effort."""
    data = kinds.JobProgress(ts=utc(at_s), tasks=dict(tasks), percent=percent, **_fields(job))
    return _job_event(subjects, job, "progress", (job.job_id, "progress", f"{at_s:.6f}"), data)


def job_completed(subjects: Subjects, job: JobRef, *, tasks: Mapping[str, int], at_s: float) -> Event:
    """Tell that a job has nothing left to do."""
    data = kinds.JobCompleted(ts=utc(at_s), tasks=dict(tasks), **_fields(job))
    return _job_event(subjects, job, "completed", (job.job_id, "completed", f"{at_s:.6f}"), data)


def job_cancelled(subjects: Subjects, job: JobRef, *, asked_by: str, at_s: float) -> Event:
    """Tell that someone cancelled a job."""
    data = kinds.JobCancelled(ts=utc(at_s), asked_by=asked_by, **_fields(job))
    return _job_event(subjects, job, "cancelled", (job.job_id, "cancelled", f"{at_s:.6f}"), data)


def session_imported(
    subjects: Subjects,
    session: SessionRef,
    *,
    job_id: str,
    raw_directory: str,
    home: str,
    image_count: int,
    at_s: float,
    asked_by: str = "",
) -> Event:
    """Tell that a session is known."""
    data = kinds.SessionImported(
        ts=utc(at_s),
        job_id=job_id,
        raw_directory=raw_directory,
        home=home,
        image_count=image_count,
        asked_by=asked_by,
        **_fields(session),
    )
    return _session_event(subjects, session, "imported", (session.session_id, "imported", job_id), data)


def session_closed(subjects: Subjects, session: SessionRef, *, reason: str, at_s: float, asked_by: str = "") -> Event:
    """Tell that no more movies are expected."""
    data = kinds.SessionClosed(ts=utc(at_s), reason=reason, asked_by=asked_by, **_fields(session))
    return _session_event(subjects, session, "closed", (session.session_id, "closed", f"{at_s:.6f}"), data)


def session_reopened(subjects: Subjects, session: SessionRef, *, reason: str, at_s: float, asked_by: str = "") -> Event:
    """Tell that movies are expected again."""
    data = kinds.SessionReopened(ts=utc(at_s), reason=reason, asked_by=asked_by, **_fields(session))
    return _session_event(subjects, session, "reopened", (session.session_id, "reopened", f"{at_s:.6f}"), data)


def movie_seen(
    subjects: Subjects, session: SessionRef, *, movie_id: str, path: str, size_bytes: int, at_s: float
) -> Event:
    """Tell that a movie file appeared."""
    data = kinds.MovieSeen(ts=utc(at_s), movie_id=movie_id, path=path, size_bytes=size_bytes, **_fields(session))
    return _session_event(subjects, session, "movie.seen", (movie_id, "seen"), data)


def movie_complete(
    subjects: Subjects,
    session: SessionRef,
    *,
    movie_id: str,
    path: str,
    size_bytes: int,
    image_id: str,
    image_name: str,
    at_s: float,
) -> Event:
    """Tell that a movie is proven whole."""
    data = kinds.MovieProven(
        ts=utc(at_s),
        movie_id=movie_id,
        path=path,
        size_bytes=size_bytes,
        image_id=image_id,
        image_name=image_name,
        **_fields(session),
    )
    # A proof may turn out wrong and be made again: the time tells the two apart.
    fact = (movie_id, "complete", f"{at_s:.6f}")
    return _session_event(subjects, session, "movie.complete", fact, data)


def movie_quarantined(
    subjects: Subjects, session: SessionRef, *, movie_id: str, path: str, reason: str, at_s: float
) -> Event:
    """Tell that a movie cannot be used as it is."""
    data = kinds.MovieQuarantined(ts=utc(at_s), movie_id=movie_id, path=path, reason=reason, **_fields(session))
    fact = (movie_id, "quarantined", f"{at_s:.6f}")
    return _session_event(subjects, session, "movie.quarantined", fact, data)


def advice(
    subjects: Subjects,
    session: SessionRef,
    *,
    advice_id: str,
    kind: str,
    severity: kinds.Severity,
    message: str,
    at_s: float,
    image_id: str | None = None,
) -> Event:
    """Tell the person at the microscope what to consider."""
    data = kinds.Advice(
        ts=utc(at_s),
        advice_id=advice_id,
        kind=kind,
        severity=severity,
        message=message,
        image_id=image_id,
        **_fields(session),
    )
    return _session_event(subjects, session, "advice", (advice_id, "advice"), data)


def notification(
    subjects: Subjects,
    session: SessionRef,
    *,
    notification_id: str,
    severity: kinds.Severity,
    message: str,
    at_s: float,
) -> Event:
    """Tell people something that is also kept in the history."""
    data = kinds.Notification(
        ts=utc(at_s), notification_id=notification_id, severity=severity, message=message, **_fields(session)
    )
    # A notification may be renewed: the time tells one from the next.
    fact = (notification_id, "notification", f"{at_s:.6f}")
    return _session_event(subjects, session, "notification", fact, data)


def image_marked(
    subjects: Subjects,
    session: SessionRef,
    *,
    image_id: str,
    image_name: str,
    passes: bool | None,
    asked_by: str,
    why: str,
    at_s: float,
) -> Event:
    """Tell what a person says of a micrograph."""
    data = kinds.ImageMarked(
        ts=utc(at_s),
        image_id=image_id,
        image_name=image_name,
        passes=passes,
        asked_by=asked_by,
        why=why,
        **_fields(session),
    )
    return _session_event(subjects, session, "image.marked", (image_id, "marked", f"{at_s:.6f}"), data)


def log_line(subjects: Subjects, line: kinds.LogLine) -> Event:
    """Tell one line of a task's log; best effort."""
    fact = (line.task_id, "log", line.ts.isoformat(), line.message)
    return _event(subjects, subjects.log(line.job_id, line.task_id), "magellon.log", fact, line)


def stage_heartbeat(subjects: Subjects, beat: kinds.StageHeartbeat) -> Event:
    """Tell that a stage is alive; best effort."""
    fact = (beat.host, beat.instance, beat.stage, beat.ts.isoformat())
    subject = subjects.stage_heartbeat(beat.category, beat.stage)
    return _event(subjects, subject, "magellon.plugins.heartbeat", fact, beat)


def node_heartbeat(subjects: Subjects, beat: kinds.NodeHeartbeat) -> Event:
    """Tell that a machine is alive; best effort."""
    fact = (beat.host, beat.instance, "node", beat.ts.isoformat())
    return _event(subjects, subjects.node_heartbeat(beat.host), "magellon.node.heartbeat", fact, beat)


def _attempt(task: TaskRef, state: str, at_s: float | None = None) -> tuple[str, ...]:
    fact = (task.task_id, str(task.attempt), state)
    return fact if at_s is None else (*fact, f"{at_s:.6f}")


def _fields(ref: TaskRef | JobRef | SessionRef) -> dict[str, Any]:
    return dict(vars(ref))


def _step_event(subjects: Subjects, task: TaskRef, kind: str, fact: tuple[str, ...], data: kinds.StepData) -> Event:
    return _event(subjects, subjects.step(task.job_id, task.step), kind, fact, data)


def _job_event(subjects: Subjects, job: JobRef, what: str, fact: tuple[str, ...], data: kinds.JobData) -> Event:
    return _event(subjects, subjects.job(job.job_id, what), f"magellon.job.{what}", fact, data)


def _session_event(
    subjects: Subjects, session: SessionRef, what: str, fact: tuple[str, ...], data: kinds.SessionData
) -> Event:
    return _event(subjects, subjects.session(session.session, what), f"magellon.session.{what}", fact, data)


def _event(subjects: Subjects, subject: str, kind: str, fact: tuple[str, ...], data: kinds.EventData) -> Event:
    envelope = Envelope(
        # Two daemons that process one session on one server tell two facts.
        id=stable_id(subjects.source, *fact),
        source=subjects.source,
        type=kind,
        subject=subject,
        time=data.ts,
        data=msgspec.to_builtins(data),
    )
    return Event(subject, envelope)
