"""Every fact the store can be told. One call of `Store.commit` takes any number of them and makes them true together.

Times are seconds since the epoch; None means now, by the store's own clock.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from daemon.domain.movie import FileIdentity, LedgerEntry
from daemon.domain.session import ImageRecord, Session
from daemon.domain.states import MovieState, TaskState
from daemon.store.marks import MarkImage

MetricValue: TypeAlias = float | int | str | bool | None
Severity: TypeAlias = Literal["info", "warning", "error"]


@dataclass(frozen=True)
class PutSession:
    """A session is known, or what is known about it changed. The state of a session already known stays as it is."""

    session: Session
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What else its configuration says (pipeline, who asked …), as JSON values."""
    at_s: float | None = None


@dataclass(frozen=True)
class CloseSession:
    """No more movies are expected; closing a closed session changes nothing."""

    session_id: str
    cause: str
    asked_by: str | None = None
    at_s: float | None = None


@dataclass(frozen=True)
class ReopenSession:
    """A late file came, or a person asked; reopening an open session changes nothing."""

    session_id: str
    cause: str
    asked_by: str | None = None
    at_s: float | None = None


@dataclass(frozen=True)
class MoveFiles:
    """All that lay in the raw directory of a session lies in another one: paths of movies, gains, decisions follow."""

    before: Session
    now: Session


@dataclass(frozen=True)
class PutImages:
    """Images are known; a record of a known id replaces the earlier one."""

    images: tuple[ImageRecord, ...]


@dataclass(frozen=True)
class DropImages:
    """Images of interrupted imports are forgotten, but for those kept by id; a session that exists keeps all."""

    session_ids: tuple[str, ...]
    kept: tuple[str, ...]


@dataclass(frozen=True)
class SeeMovie:
    """A new revision of a file enters the ledger in the state its entry says."""

    entry: LedgerEntry
    cause: str = "seen"


@dataclass(frozen=True)
class UpdateMovieFile:
    """A movie that is still being written grew: same revision, other size or time. Only before it is complete."""

    movie_id: str
    identity: FileIdentity
    last_write_s: float


@dataclass(frozen=True)
class MoveMovie:
    """A movie goes to another state. `reason` is for people, `cause` names the rule, event or command.

    With `asked_by` (a person's name) a terminal state may be left again.
    """

    movie_id: str
    state: MovieState
    reason: str = ""
    cause: str = ""
    asked_by: str | None = None
    image_id: str | None = None
    """Set together with the move when the image of the movie becomes known; None keeps what is there."""
    last_write_s: float | None = None
    at_s: float | None = None


@dataclass(frozen=True)
class PutJob:
    """A job is known; a job of a known id gets the new parameters and keeps its marks."""

    job_id: str
    session_id: str
    kind: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    at_s: float | None = None


@dataclass(frozen=True)
class MarkJob:
    """Someone cancelled a job or declared it completed (exactly one of the two)."""

    job_id: str
    cancelled_by: str | None = None
    completed_by: str | None = None
    reason: str = ""
    at_s: float | None = None


@dataclass(frozen=True)
class ReopenJob:
    """Tasks of a job are to be done after all; `asked_by` is None where no person took it up: a movie came later."""

    job_id: str
    asked_by: str | None
    at_s: float | None = None


@dataclass(frozen=True)
class NewTask:
    """One stage owed to one image; `position` orders the stages of an image."""

    task_id: str
    job_id: str
    session_id: str
    image_id: str | None
    movie_id: str | None
    stage: str
    position: int
    follows: str | None = None
    """The task of the same file at its old path, whose result and parameters this one takes over."""


@dataclass(frozen=True)
class PutTasks:
    """New tasks, pending but for what those that they follow have finished."""

    tasks: tuple[NewTask, ...]
    at_s: float | None = None
    cause: str = "planned"


@dataclass(frozen=True)
class StartAttempt:
    """A pending task runs. Commit it before the work begins, so that a crash is counted."""

    task_id: str
    attempt: int
    """One more than the attempts made so far."""
    parameters_hash: str
    started_at_s: float | None = None
    takes_back: bool = False
    """What an earlier attempt made was removed; of a task that is to be made from scratch, refused without it."""


@dataclass(frozen=True)
class OutputRecord:
    """A file a task wrote, relative to the session home; `kind` is the product's name."""

    kind: str
    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class EndTask:
    """A task reaches a terminal state. Its outputs enter the artifact table in the same breath.

    `attempt` is the running attempt, or None when no attempt was made (skipped, cancelled while
    pending, found completed on disk). An answer that carries an older attempt is refused.
    """

    task_id: str
    state: TaskState
    attempt: int | None = None
    reason: str = ""
    kind: str = ""
    hint: str = ""
    retryable: bool = False
    detail: str = ""
    outputs: tuple[OutputRecord, ...] = ()
    warnings: tuple[str, ...] = ()
    parameters_hash: str = ""
    code_version: str = ""
    cause: str = ""
    asked_by: str | None = None
    ended_at_s: float | None = None


@dataclass(frozen=True)
class PutBackTask:
    """A running task becomes pending again: a retryable failure (`kind` set) or a daemon that died in it.

    With `asked_by` a terminal task is reopened the same way, and one that waits may get other parameters.
    """

    task_id: str
    reason: str
    attempt: int | None = None
    """The running attempt that is over; refused when it does not run any more."""
    kind: str = ""
    hint: str = ""
    detail: str = ""
    cause: str = ""
    asked_by: str | None = None
    next_attempt_at_s: float | None = None
    parameters: Mapping[str, Any] | None = None
    """Parameters of this task alone, over those of its stage; None keeps those it has, empty takes them away."""
    from_scratch: bool = False
    """Believe no result of an earlier attempt, on disk or not."""
    at_s: float | None = None


@dataclass(frozen=True)
class PutBackTasks:
    """Many tasks are put back because somebody asked: what PutBackTask does with one, at a fraction of its cost."""

    task_ids: tuple[str, ...]
    reason: str
    asked_by: str
    cause: str = ""
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """By stage; a stage that is not named keeps what its tasks have."""
    from_scratch: bool = False
    at_s: float | None = None


@dataclass(frozen=True)
class PutMetrics:
    """The numbers of one stage of one image; they replace earlier ones of the same image."""

    stage: str
    image_id: str
    task_id: str
    values: Mapping[str, MetricValue]


@dataclass(frozen=True)
class DropResults:
    """What a stage made of an image is gone: its numbers, and these files (paths relative to the session home)."""

    session_id: str
    image_id: str
    task_id: str
    stage: str
    paths: tuple[str, ...]


@dataclass(frozen=True)
class PutVerdict:
    """What the gates say of an image: passes, refused by a gate, or not known yet (None)."""

    session_id: str
    image_id: str
    passes: bool | None
    gate: str = ""
    reason: str = ""


@dataclass(frozen=True)
class ArtifactRecord:
    """One file of ours that no single task wrote (or a foreign result taken in)."""

    session_id: str
    path: str
    kind: str
    size_bytes: int
    sha256: str
    parameters_hash: str
    producer: str
    image_id: str | None = None
    task_id: str | None = None


@dataclass(frozen=True)
class PutArtifacts:
    """Files are known by content; a record of the same session and path replaces the earlier one."""

    artifacts: tuple[ArtifactRecord, ...]
    at_s: float | None = None


@dataclass(frozen=True)
class QueueEvent:
    """An event to be published after this commit, in the order of the commits. `stream` None: core NATS."""

    event_id: str
    subject: str
    body: bytes
    stream: str | None = None
    occurred_at_s: float | None = None


@dataclass(frozen=True)
class MarkPublished:
    """Events reached the bus."""

    seqs: tuple[int, ...]
    at_s: float | None = None


@dataclass(frozen=True)
class PruneEvents:
    """Forget published events that were published before this time."""

    published_before_s: float


@dataclass(frozen=True)
class PutNotification:
    """Something a person should know; the same id replaces the earlier one."""

    notification_id: str
    severity: Severity
    kind: str
    message: str
    hint: str = ""
    session_id: str | None = None
    at_s: float | None = None


@dataclass(frozen=True)
class PutDecision:
    """A session-level decision (modal frame count, gain orientation …), persisted before anyone uses it."""

    session_id: str
    key: str
    value: Any
    """Any JSON value."""
    at_s: float | None = None


ControlKind: TypeAlias = Literal["pause", "parameters", "gates", "title"]


@dataclass(frozen=True)
class SetControl:
    """A person sets something for a stage, a session, or (neither given) the node; it replaces what was set before."""

    kind: ControlKind
    session_id: str | None
    stage: str | None
    value: Any
    """Any JSON value; None takes away what was set."""
    asked_by: str
    why: str = ""
    at_s: float | None = None


Change: TypeAlias = (
    PutSession
    | CloseSession
    | ReopenSession
    | MoveFiles
    | PutImages
    | DropImages
    | SeeMovie
    | UpdateMovieFile
    | MoveMovie
    | PutJob
    | MarkJob
    | ReopenJob
    | PutTasks
    | StartAttempt
    | EndTask
    | PutBackTask
    | PutBackTasks
    | PutMetrics
    | DropResults
    | PutVerdict
    | PutArtifacts
    | QueueEvent
    | MarkPublished
    | PruneEvents
    | PutNotification
    | PutDecision
    | SetControl
    | MarkImage
)
