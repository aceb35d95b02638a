from fnmatch import fnmatchcase

import pytest

from daemon.bus.roles import Role, permissions, role_of_inbox
from daemon.messages.commands import COMMANDS, QUERIES
from daemon.messages.subjects import Subjects

SUBJECTS = Subjects(instance="krios2")


def test_only_operators_and_the_daemon_may_command() -> None:
    assert SUBJECTS.all_commands in permissions(Role.OPERATOR, SUBJECTS)["publish"]
    assert SUBJECTS.all_commands not in permissions(Role.VIEWER, SUBJECTS)["publish"]
    assert permissions(Role.DAEMON, SUBJECTS) == {"publish": ">", "subscribe": ">"}


@pytest.mark.parametrize("role", [Role.OPERATOR, Role.VIEWER])
def test_nobody_but_the_daemon_may_tell_events_or_change_streams(role: Role) -> None:
    for subject in permissions(role, SUBJECTS)["publish"]:
        assert not subject.startswith("magellon.")
        assert not subject.startswith(
            ("$JS.API.STREAM.DELETE", "$JS.API.STREAM.PURGE", "$KV.", "$JS.API.CONSUMER.DELETE")
        )


def test_the_inbox_tells_the_role() -> None:
    for role in Role:
        assert role_of_inbox(f"{SUBJECTS.inbox(role)}.abc", SUBJECTS) is role
    assert role_of_inbox("_INBOX.abc", SUBJECTS) is None
    assert role_of_inbox("_INBOX_operators.abc", SUBJECTS) is None
    assert role_of_inbox("", SUBJECTS) is None


def test_every_command_is_the_operators_and_every_query_is_the_viewers_too() -> None:
    def may(role: Role, subject: str) -> bool:
        return any(covers(pattern, subject) for pattern in permissions(role, SUBJECTS)["publish"])

    for name in COMMANDS:
        assert may(Role.OPERATOR, SUBJECTS.command(name))
        assert not may(Role.VIEWER, SUBJECTS.command(name))
    for name in QUERIES:
        assert may(Role.OPERATOR, SUBJECTS.query(name))
        assert may(Role.VIEWER, SUBJECTS.query(name))


def covers(pattern: str, subject: str) -> bool:
    """Whether a permission of NATS lets a subject through."""
    return fnmatchcase(subject, pattern.removesuffix(">") + "*") if pattern.endswith(">") else pattern == subject
