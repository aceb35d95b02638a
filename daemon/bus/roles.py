"""Who may do what on the bus: one NATS user per role on the embedded server, an example for others."""

from enum import StrEnum
from typing import Any

from daemon.messages.subjects import Subjects


class Role(StrEnum):
    """Daemon: everything. Operator: commands and queries. Viewer: queries and listening."""

    DAEMON = "daemon"
    OPERATOR = "operator"
    VIEWER = "viewer"


def permissions(role: Role, subjects: Subjects) -> dict[str, Any]:
    """Return the NATS permissions of a role, in the words of the server's configuration.

    A role may subscribe to its own inbox only: it cannot read another's replies, and the inbox that a
    request names tells the daemon who asks. Whoever follows a stream may make consumers on it; what these
    push keeps the event's own subject, so that none can be taken for a command.
    """
    if role is Role.DAEMON:
        return {"publish": ">", "subscribe": ">"}
    publish = [subjects.all_queries, "$JS.API.INFO"]
    for stream in (subjects.step_stream, subjects.session_stream, subjects.job_bucket_stream):
        publish += [f"$JS.API.STREAM.INFO.{stream}", f"$JS.API.CONSUMER.CREATE.{stream}.>"]
    if role is Role.OPERATOR:
        publish += [subjects.all_commands, subjects.path_hint]
    return {"publish": publish, "subscribe": [subjects.all_events, f"{subjects.inbox(role)}.>"]}


def role_of_inbox(reply_subject: str, subjects: Subjects) -> Role | None:
    """Return the role whose inbox a reply subject lies in, None for a foreign one."""
    for role in Role:
        if reply_subject.startswith(f"{subjects.inbox(role)}."):
            return role
    return None
