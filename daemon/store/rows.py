"""What the store's reads return, and how Python values become table values and back."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from daemon.domain.acquisition import Acquisition
from daemon.domain.movie import FileIdentity, LedgerEntry
from daemon.domain.session import Session
from daemon.domain.states import MovieState, TaskState

_UNDECODABLE = "bytes:"


def to_timestamp(seconds: float | None) -> datetime | None:
    """Seconds since the epoch to the naive UTC value that a TIMESTAMP column holds."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)


def to_seconds(timestamp: datetime) -> float:
    """Value of a TIMESTAMP column to seconds since the epoch."""
    return timestamp.replace(tzinfo=UTC).timestamp()


def to_optional_seconds(timestamp: datetime | None) -> float | None:
    """As `to_seconds`; NULL stays None."""
    return None if timestamp is None else to_seconds(timestamp)


def encode_path(path: Path) -> str:
    """Text of a path. One whose bytes are not UTF-8 is kept as `bytes:` and hex, so that it comes back exactly."""
    text = str(path)
    try:
        text.encode()
    except UnicodeEncodeError:
        return _UNDECODABLE + os.fsencode(path).hex()
    return text


def decode_path(text: str) -> Path:
    """Inverse of `encode_path`."""
    if text.startswith(_UNDECODABLE):
        return Path(os.fsdecode(bytes.fromhex(text.removeprefix(_UNDECODABLE))))
    return Path(text)


def encode_acquisition(acquisition: Acquisition) -> str:
    """JSON text of an acquisition, keys in order of declaration."""
    return msgspec.json.encode(acquisition, enc_hook=encode_path).decode()


def decode_acquisition(text: str) -> Acquisition:
    """Inverse of `encode_acquisition`."""
    return msgspec.json.decode(text, type=Acquisition, dec_hook=lambda _kind, value: decode_path(value))


def encode_json(value: Any) -> str:
    """Canonical text of any JSON value. Raises ValueError or TypeError for what JSON cannot hold."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def decode_json(text: str) -> Any:
    """Value of a JSON column."""
    return json.loads(text)


@dataclass(frozen=True)
class SessionRow:
    """A session with what the store knows beside it."""

    session: Session
    facts: Mapping[str, Any]
    created_at_s: float
    closed_at_s: float | None


@dataclass(frozen=True)
class JobRow:
    """A job; its state is derived (daemon.domain.states.job_state), never stored."""

    job_id: str
    session_id: str
    kind: str
    parameters: Mapping[str, Any]
    created_at_s: float
    cancelled_by: str | None
    cancelled_at_s: float | None
    completed_by: str | None
    completed_at_s: float | None


@dataclass(frozen=True)
class ControlRow:
    """Something a person set for a stage, a session, both, or (neither given) the node."""

    kind: str
    session_id: str | None
    stage: str | None
    value: Any
    asked_by: str
    why: str
    set_at_s: float


@dataclass(frozen=True, slots=True)
class KnownFile:
    """The newest revision of a file, as the watcher needs it after a restart."""

    size_bytes: int
    mtime_ns: int
    movie_id: str
    state: MovieState


@dataclass(frozen=True)
class Transition:
    """One line of the history; `subject` is movie, task, session or control."""

    seq: int
    subject: str
    subject_id: str
    session_id: str
    from_state: str | None
    to_state: str
    moved_at_s: float
    reason: str
    cause: str
    asked_by: str | None


@dataclass(frozen=True)
class TaskRow:
    """One stage owed to one image, as it stands now; reason and error are those of its last attempt."""

    task_id: str
    job_id: str
    session_id: str
    image_id: str | None
    movie_id: str | None
    stage: str
    position: int
    state: TaskState
    attempts: int
    reason: str
    error_kind: str
    hint: str
    retryable: bool
    warnings: tuple[str, ...]
    parameters_hash: str
    code_version: str
    created_at_s: float
    started_at_s: float | None
    ended_at_s: float | None
    next_attempt_at_s: float | None
    parameters: Mapping[str, Any] | None = None
    """Parameters of this task alone, over those of its stage."""
    from_scratch: bool = False
    """Whether an earlier result on disk is not to be believed."""


@dataclass(frozen=True)
class AttemptRow:
    """One attempt of a task; `outcome` is running, completed, failed, cancelled, skipped or interrupted."""

    task_id: str
    attempt: int
    outcome: str
    started_at_s: float
    ended_at_s: float | None
    reason: str
    error_kind: str
    hint: str
    retryable: bool
    detail: str
    parameters_hash: str
    code_version: str


@dataclass(frozen=True)
class OutboxRow:
    """An event that waits to be published."""

    seq: int
    event_id: str
    subject: str
    stream: str | None
    body: bytes


MOVIE_COLUMNS = (
    "movie_id, session_id, path, size_bytes, mtime_ns, revision, state, reason, image_id, seen_at, last_write_at"
)
TASK_COLUMNS = (
    "task_id, job_id, session_id, image_id, movie_id, stage, position, state, attempts, reason, error_kind, hint, "
    "retryable, warnings, parameters_hash, code_version, created_at, started_at, ended_at, next_attempt_at, "
    "parameters, from_scratch"
)


def read_movie(row: Sequence[Any]) -> LedgerEntry:
    """Ledger entry of a row of MOVIE_COLUMNS."""
    movie_id, session_id, path, size_bytes, mtime_ns, revision, state, reason, image_id, seen_at, last_write_at = row
    return LedgerEntry(
        movie_id=movie_id,
        session_id=session_id,
        identity=FileIdentity(decode_path(path), size_bytes, mtime_ns),
        revision=revision,
        state=MovieState(state),
        reason=reason,
        image_id=image_id,
        seen_at_s=to_seconds(seen_at),
        last_write_s=to_seconds(last_write_at),
    )


def convert(row: Sequence[Any], converters: Mapping[int, Callable[[Any], Any]]) -> list[Any]:
    """Return a row's values with those at some positions converted."""
    return [converters[index](value) if index in converters else value for index, value in enumerate(row)]


def read_task(row: Sequence[Any]) -> TaskRow:
    """Task of a row of TASK_COLUMNS."""
    # Written out: commands that concern a whole session read a hundred thousand of these.
    warnings, parameters = row[13], row[20]
    return TaskRow(
        task_id=row[0],
        job_id=row[1],
        session_id=row[2],
        image_id=row[3],
        movie_id=row[4],
        stage=row[5],
        position=row[6],
        state=TaskState(row[7]),
        attempts=row[8],
        reason=row[9],
        error_kind=row[10],
        hint=row[11],
        retryable=row[12],
        warnings=() if warnings == _NO_WARNINGS else tuple(decode_json(warnings)),
        parameters_hash=row[14],
        code_version=row[15],
        created_at_s=to_seconds(row[16]),
        started_at_s=to_optional_seconds(row[17]),
        ended_at_s=to_optional_seconds(row[18]),
        next_attempt_at_s=to_optional_seconds(row[19]),
        parameters=None if parameters is None else decode_json(parameters),
        from_scratch=row[21],
    )


_NO_WARNINGS = "[]"
