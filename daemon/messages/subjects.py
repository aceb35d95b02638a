"""Every subject, stream and bucket name, built in one place.

Names that come from outside (sessions, hosts, jobs) become one subject token each: ASCII letters,
digits, `_` and `-` stand for themselves, every other byte of the UTF-8 form is written `=XX` in
upper-case hexadecimal, and the empty name is a single `=`. The form is legal in subjects, stream
names and bucket keys alike, and `unescape_token` gives the name back.
"""

import re
from dataclasses import dataclass

_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")
_ESCAPED = re.compile(r"(?:[A-Za-z0-9_-]|=[0-9A-F]{2})+")
_DOTTED = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")
_EMPTY = "="
_PLAIN_TOKEN = re.compile(r"[A-Za-z0-9_-]+")
_NAME = re.compile(r"[a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*)*")


class AnyToken:
    """In place of a name: any one token, for subscribers; a type of its own, as `*` can be a name."""


ANY = AnyToken()


def escape_token(name: str) -> str:
    """Return `name` as one legal, reversible subject token."""
    if not name:
        return _EMPTY
    return "".join(chr(byte) if byte in _PLAIN else f"={byte:02X}" for byte in name.encode())


def unescape_token(token: str) -> str:
    """Return the name that `escape_token` made `token` from. Raises ValueError for anything else."""
    if token == _EMPTY:
        return ""
    if not _ESCAPED.fullmatch(token):
        raise ValueError(f"{token!r} is not an escaped subject token")
    parts = re.findall(r"=([0-9A-F]{2})|(.)", token)
    return b"".join(bytes.fromhex(code) if code else plain.encode() for code, plain in parts).decode()


def _token(name: str | AnyToken) -> str:
    return "*" if isinstance(name, AnyToken) else escape_token(name)


@dataclass(frozen=True)
class Subjects:
    """The names of one daemon: `prefix` for what it tells, `instance` for what it is asked."""

    prefix: str = "magellon"
    instance: str = "main"

    def __post_init__(self) -> None:
        if not _DOTTED.fullmatch(self.prefix):
            raise ValueError(f"prefix {self.prefix!r} must be tokens of letters, digits, _ or - joined by dots")
        if not _PLAIN_TOKEN.fullmatch(self.instance):
            raise ValueError(f"instance {self.instance!r} must be letters, digits, _ or -")

    @property
    def source(self) -> str:
        """What stands in `source` of every envelope."""
        return f"elcano/{self.instance}"

    def step(self, job_id: str | AnyToken, step: str | AnyToken) -> str:
        """Events of one step of one job."""
        return f"{self.prefix}.job.{_token(job_id)}.step.{_token(step)}"

    def job(self, job_id: str | AnyToken, what: str | AnyToken) -> str:
        """A job's own events: started, progress, completed, cancelled."""
        return f"{self.prefix}.job.{_token(job_id)}.{_token(what)}"

    def session(self, session: str | AnyToken, what: str) -> str:
        """A session's events: imported, closed, movie.seen, movie.complete, movie.quarantined, advice, notification."""
        if not _NAME.fullmatch(what):
            raise ValueError(f"{what!r} is not an event name")
        return f"{self.prefix}.session.{_token(session)}.{what}"

    def session_all(self, session: str | AnyToken = ANY) -> str:
        """Everything about one session, for subscribers."""
        return f"{self.prefix}.session.{_token(session)}.>"

    def log(self, job_id: str | AnyToken, task_id: str | AnyToken) -> str:
        """Live log lines of one task."""
        return f"{self.prefix}.log.{_token(job_id)}.{_token(task_id)}"

    def stage_heartbeat(self, category: str | AnyToken, stage: str | AnyToken) -> str:
        """Sign of life of one stage."""
        return f"{self.prefix}.plugins.heartbeat.{_token(category)}.{_token(stage)}"

    def node_heartbeat(self, host: str | AnyToken) -> str:
        """Sign of life of one machine."""
        return f"{self.prefix}.node.{_token(host)}.heartbeat"

    @property
    def all_events(self) -> str:
        """Everything this daemon, and others under the same prefix, tell."""
        return f"{self.prefix}.>"

    def command(self, name: str) -> str:
        """Where a command is asked, such as `session.import`."""
        return f"{self._own}.cmd.{_checked(name)}"

    def query(self, name: str) -> str:
        """Where a query is asked, such as `jobs`."""
        return f"{self._own}.query.{_checked(name)}"

    @property
    def all_commands(self) -> str:
        """Every command, for the responder and for permissions."""
        return f"{self._own}.cmd.>"

    @property
    def all_queries(self) -> str:
        """Every query, for the responder and for permissions."""
        return f"{self._own}.query.>"

    @property
    def path_hint(self) -> str:
        """Where anyone may name a path worth a look."""
        return f"{self._own}.hint.path"

    def asked_name(self, subject: str) -> tuple[str, str] | None:
        """Return ("cmd" | "query", name) for a subject under this instance, None for any other."""
        for kind in ("cmd", "query"):
            head = f"{self._own}.{kind}."
            if subject.startswith(head):
                return kind, subject.removeprefix(head)
        return None

    def stream_of(self, pattern: str) -> str | None:
        """Return the stream that keeps every subject `pattern` can mean, None when no stream does."""
        for stream, kept in (
            (self.step_stream, self.step_stream_subjects),
            (self.session_stream, self.session_stream_subjects),
            (self.job_bucket_stream, (self.job_bucket_keys,)),
        ):
            if any(_covers(subject, pattern) for subject in kept):
                return stream
        return None

    @property
    def step_stream(self) -> str:
        """Stream that keeps step events."""
        return f"{self._stream_prefix}_STEP_EVENTS"

    @property
    def step_stream_subjects(self) -> tuple[str, ...]:
        """What the step stream keeps."""
        return (self.step(ANY, ANY),)

    @property
    def session_stream(self) -> str:
        """Stream that keeps job and session events."""
        return f"{self._stream_prefix}_SESSION_EVENTS"

    @property
    def session_stream_subjects(self) -> tuple[str, ...]:
        """What the session stream keeps."""
        return (self.job(ANY, ANY), self.session_all())

    @property
    def job_bucket(self) -> str:
        """Key-value bucket with one small summary per job."""
        return f"elcano-{self.instance}-jobs"

    @property
    def job_bucket_stream(self) -> str:
        """The stream behind the bucket."""
        return f"KV_{self.job_bucket}"

    @property
    def job_bucket_keys(self) -> str:
        """The subjects behind the bucket's keys."""
        return f"$KV.{self.job_bucket}.>"

    def inbox(self, role: str) -> str:
        """Prefix of the reply subjects of one role, so that no role can read another's replies."""
        return f"_INBOX_{escape_token(role)}"

    @property
    def _own(self) -> str:
        return f"elcano.{self.instance}"

    @property
    def _stream_prefix(self) -> str:
        return self.prefix.upper().replace(".", "_")


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not the name of a command or query")
    return name


def _covers(wide: str, narrow: str) -> bool:
    """Whether every subject that `narrow` matches is matched by `wide`."""
    wide_tokens, narrow_tokens = wide.split("."), narrow.split(".")
    for position, part in enumerate(wide_tokens):
        if part == ">":
            return len(narrow_tokens) > position
        if position >= len(narrow_tokens) or narrow_tokens[position] == ">":
            return False
        if part not in {"*", narrow_tokens[position]}:
            return False
    return len(wide_tokens) == len(narrow_tokens)
