"""What a daemon can be asked, and how it answers.

A request is a `Command` on `elcano.<instance>.cmd.<name>` or `….query.<name>`; an empty body means no
arguments. An answer is one `Reply`, or, where it would exceed the server's payload limit, several that
follow each other on the same reply subject, each with its `page`.
"""
# ruff: noqa: RUF012 - msgspec gives every struct an empty default of its own

from collections.abc import Mapping
from pathlib import PurePath
from typing import Annotated, Any

import msgspec

from daemon.errors import CommandRefused, MessageInvalid
from daemon.messages.arguments import Arguments, Asker, Reason
from daemon.messages.browsing import FolderQuery, PreviewQuery
from daemon.messages.curation import CurationQuery
from daemon.messages.error_info import ErrorInfo
from daemon.messages.files import ArtifactFilesQuery, ArtifactsQuery, ColumnsQuery, SliceQuery
from daemon.messages.live import LiveQuery
from daemon.messages.micrographs import ImageMark, MicrographQuery, MicrographsQuery, PictureQuery
from daemon.messages.misfits import describe_misfit
from daemon.messages.news import LogsQuery, NotificationsQuery
from daemon.messages.sessions import SessionQuery, SessionRename, SessionReport, TreeQuery

Rows = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]


class Command(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is asked and who says to be asking; `name` repeats the end of the subject, or is left out."""

    name: str = ""
    arguments: dict[str, Any] = {}
    asked_by: Asker = ""


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Which part of an answer this is; `key` names the list in `data` that is spread over them ("" = data itself)."""

    number: int
    of: int
    key: str = ""


LARGEST_ANSWER_BYTES = 256 * 2**20
"""No answer may have more than this, all its pages together."""


class Reply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Data, or the error that a person can act on."""

    ok: bool
    error: ErrorInfo | None = None
    data: Any = None
    page: Page | None = None


class NoArguments(Arguments, frozen=True, kw_only=True):
    """Nothing to say but the name."""


class SessionImport(Arguments, frozen=True, kw_only=True):
    """Import the session in `directory` (an absolute path on the daemon's mount), under `name` if given.

    `mark` is the sha256 of the first 64 KiB of the session.json that the asker sees there, empty where there is none:
    a daemon that sees another one refuses. Without it nothing is compared.
    """

    directory: str
    name: str | None = None
    mark: str | None = None


class SessionClose(Arguments, frozen=True, kw_only=True):
    """Expect no more movies of a session, named or by id."""

    session: str
    reason: Reason = ""


class TaskRetry(Arguments, frozen=True, kw_only=True):
    """Run failed tasks again: those named, or all that match session and stage; `cancelled`: and cancelled ones."""

    task_ids: list[str] = []
    session: str | None = None
    stage: str | None = None
    cancelled: bool = False
    why: Reason = ""


class TaskCancel(Arguments, frozen=True, kw_only=True):
    """Give up tasks that wait or run: those named, or all that match session, stage and images (by name)."""

    task_ids: list[str] = []
    session: str | None = None
    stage: str | None = None
    images: list[str] = []
    why: Reason = ""


class JobCancel(Arguments, frozen=True, kw_only=True):
    """Give up all that waits or runs of a job, named by its id or its session; movies that come later are processed."""

    job: str
    why: Reason = ""


class JobComplete(Arguments, frozen=True, kw_only=True):
    """Declare a job completed, named by its id or its session, whatever of it is open."""

    job: str
    why: Reason = ""


class StageReprocess(Arguments, frozen=True, kw_only=True):
    """Run a stage again, and what depends on it, for the images that match every condition given.

    `values` are parameters for this run, over the stage's own; `where` is an SQL condition on `micrographs`. With
    `preview` nothing is done; its `token`, given back, has the command refused if the selection has changed since.
    """

    stage: str
    session: str | None = None
    images: list[str] = []
    where: str | None = None
    values: dict[str, Any] = {}
    why: Reason = ""
    preview: bool = False
    token: str | None = None


class StageParameters(Arguments, frozen=True, kw_only=True):
    """Let a stage run with other parameters, for all sessions or one, from the next movie on."""

    stage: str
    values: dict[str, Any]
    session: str | None = None
    why: Reason = ""


class StagePause(Arguments, frozen=True, kw_only=True):
    """Begin no more tasks of a stage, in all sessions or in one; also: end that pause."""

    stage: str
    session: str | None = None
    why: Reason = ""


class SessionPause(Arguments, frozen=True, kw_only=True):
    """Begin no more tasks of a session; also: end that pause."""

    session: str
    why: Reason = ""


class NodePause(Arguments, frozen=True, kw_only=True):
    """Begin no more tasks at all; also: end that pause."""

    why: Reason = ""


class SessionThresholds(Arguments, frozen=True, kw_only=True):
    """Move the gates of a session: a limit for each, null for off; `reset` goes back to the configuration's first.

    `preview` and `token` as for stage.reprocess.
    """

    session: str
    limits: dict[str, float | None] = {}
    reset: bool = False
    why: Reason = ""
    preview: bool = False
    token: str | None = None


class GatesQuery(Arguments, frozen=True, kw_only=True):
    """The gates of a session, their limits, and how many images pass; with `limits` or `reset`: were they moved so."""

    session: str
    limits: dict[str, float | None] = {}
    reset: bool = False


class ParametersQuery(Arguments, frozen=True, kw_only=True):
    """The parameters that stages run with, for a session or for all; `described`: with each stage's JSON Schema."""

    stage: str | None = None
    session: str | None = None
    described: bool = False


class JobsQuery(Arguments, frozen=True, kw_only=True):
    """Jobs with their counts by step and state, newest first."""

    session: str | None = None


class TasksQuery(Arguments, frozen=True, kw_only=True):
    """Tasks in pipeline order."""

    job_id: str | None = None
    session: str | None = None
    stage: str | None = None
    state: str | None = None
    limit: Rows = 10_000


class MatrixQuery(Arguments, frozen=True, kw_only=True):
    """The tasks of a job, image by image; `after`, the `seq` of an earlier answer: only what has changed since."""

    job_id: str
    after: int | None = None


class TaskQuery(Arguments, frozen=True, kw_only=True):
    """One task: parameters, attempts, error, history, metrics, files."""

    task_id: str


class ImagesQuery(Arguments, frozen=True, kw_only=True):
    """Images of a session with their states and figures."""

    session: str
    limit: Rows = 10_000


class MetricsQuery(Arguments, frozen=True, kw_only=True):
    """The metric table of one stage."""

    stage: str
    session: str | None = None
    limit: Rows = 10_000


class SqlQuery(Arguments, frozen=True, kw_only=True):
    """One read-only SQL statement."""

    statement: str
    limit: Rows = 100_000
    timeout_s: Annotated[float, msgspec.Meta(gt=0, le=300)] = 30.0


class MountProve(Arguments, frozen=True, kw_only=True):
    """Look for a nonce that another node wrote to `<home>/.elcano/mounts/<file>`; up to 10 s are given to it."""

    file: str
    nonce: str


class AuditQuery(Arguments, frozen=True, kw_only=True):
    """Reconcile disk, ledger and outputs of one session or of all; `deep` reads every output's bytes."""

    session: str | None = None
    deep: bool = False


COMMANDS: Mapping[str, type[Arguments]] = {
    "session.import": SessionImport,
    "session.close": SessionClose,
    "session.pause": SessionPause,
    "session.resume": SessionPause,
    "session.thresholds": SessionThresholds,
    "session.rename": SessionRename,
    "session.report": SessionReport,
    "image.accept": ImageMark,
    "image.reject": ImageMark,
    "image.unmark": ImageMark,
    "job.cancel": JobCancel,
    "job.complete": JobComplete,
    "task.retry": TaskRetry,
    "task.cancel": TaskCancel,
    "stage.reprocess": StageReprocess,
    "stage.parameters": StageParameters,
    "stage.pause": StagePause,
    "stage.resume": StagePause,
    "node.pause": NodePause,
    "node.resume": NodePause,
}
"""Commands change something; who asked is stored."""

QUERIES: Mapping[str, type[Arguments]] = {
    "status": NoArguments,
    "jobs": JobsQuery,
    "tasks": TasksQuery,
    "task": TaskQuery,
    "matrix": MatrixQuery,
    "images": ImagesQuery,
    "micrographs": MicrographsQuery,
    "micrograph": MicrographQuery,
    "picture": PictureQuery,
    "metrics": MetricsQuery,
    "sessions": NoArguments,
    "session": SessionQuery,
    "tree": TreeQuery,
    "folder": FolderQuery,
    "session.preview": PreviewQuery,
    "artifacts": ArtifactsQuery,
    "artifact.files": ArtifactFilesQuery,
    "artifact.slice": SliceQuery,
    "artifact.columns": ColumnsQuery,
    "queues": NoArguments,
    "logs": LogsQuery,
    "notifications": NotificationsQuery,
    "gates": GatesQuery,
    "curation": CurationQuery,
    "live": LiveQuery,
    "parameters": ParametersQuery,
    "sql": SqlQuery,
    "audit": AuditQuery,
    "mount.proof": NoArguments,
    "mount.prove": MountProve,
}
"""Queries change nothing."""

_ENCODER = msgspec.json.Encoder()
_COMMAND = msgspec.json.Decoder(Command)
_REPLY = msgspec.json.Decoder(Reply)


def encode_command(command: Command) -> bytes:
    """Serialise a request."""
    return _ENCODER.encode(command)


def decode_command(name: str, body: bytes) -> Command:
    """Parse a request that came on the subject of `name`. Raises MessageInvalid."""
    if not body.strip():
        return Command(name=name)
    try:
        command = _COMMAND.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MessageInvalid("request", describe_misfit(str(error))) from error
    if command.name not in {"", name}:
        raise MessageInvalid("request", f"it names {command.name!r} but came on the subject of {name!r}")
    return msgspec.structs.replace(command, name=name)


def read_arguments(command: Command, kind: type[Arguments]) -> Arguments:
    """Return the typed arguments of a request. Raises CommandRefused, naming the key that is wrong."""
    try:
        return msgspec.convert(command.arguments, kind)
    except msgspec.ValidationError as error:
        known = ", ".join(kind.__struct_fields__) or "none"
        what = describe_misfit(str(error))
        raise CommandRefused(f"{command.name}: {what}.", hint=f"Arguments it knows: {known}.") from error


def encode_reply(reply: Reply) -> bytes:
    """Serialise an answer; structs, dataclasses, times and paths in `data` become plain JSON. Raises TypeError."""
    return msgspec.json.encode(reply, enc_hook=_encode_path)


def encode_data(value: Any) -> bytes:
    """Serialise a part of an answer, by the same rules. Raises TypeError."""
    return msgspec.json.encode(value, enc_hook=_encode_path)


def _encode_path(value: Any) -> str:
    if isinstance(value, PurePath):
        return str(value)
    raise TypeError(f"{type(value).__name__} cannot be sent in a reply")


def decode_reply(body: bytes) -> Reply:
    """Parse an answer. Raises MessageInvalid."""
    try:
        return _REPLY.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MessageInvalid("reply", str(error)) from error
