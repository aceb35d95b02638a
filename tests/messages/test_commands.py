from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.errors import CommandRefused, MessageInvalid, PathOutsideRoots
from daemon.messages.arguments import LONGEST_REASON, Arguments
from daemon.messages.commands import (
    COMMANDS,
    QUERIES,
    Command,
    NoArguments,
    Page,
    Reply,
    SessionImport,
    SessionThresholds,
    SqlQuery,
    TaskRetry,
    decode_command,
    decode_reply,
    encode_command,
    encode_reply,
    read_arguments,
)
from daemon.messages.error_info import ErrorInfo
from daemon.messages.subjects import Subjects


@settings(deadline=None, max_examples=60)
@given(asked_by=st.text(), directory=st.text())
def test_a_command_comes_back(asked_by: str, directory: str) -> None:
    sent = Command(name="session.import", arguments={"directory": directory}, asked_by=asked_by)
    received = decode_command("session.import", encode_command(sent))
    assert received == sent
    assert read_arguments(received, SessionImport) == SessionImport(directory=directory)


def test_an_empty_request_asks_without_arguments() -> None:
    command = decode_command("status", b"  ")
    assert command == Command(name="status")
    assert read_arguments(command, NoArguments) == NoArguments()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"please", "malformed"),
        (b'{"name": "job.cancel"}', "came on the subject of 'status'"),
        (b'{"argument": {}}', "unknown field `argument`"),
        (b'{"arguments": [1]}', "arguments must be a table, not a list"),
        (b'{"asked_by": "' + b"x" * 201 + b'"}', "asked_by may have 200 characters at most"),
        (b"\xff", "malformed|utf-8|UTF-8"),
    ],
)
def test_what_is_no_request_is_refused(body: bytes, words: str) -> None:
    with pytest.raises(MessageInvalid, match=words):
        decode_command("status", body)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, r"sql: .*statement.*statement, limit, timeout_s"),
        ({"statement": "select 1", "rows": 3}, "rows"),
        ({"statement": "select 1", "limit": 0}, "limit"),
        ({"statement": "select 1", "timeout_s": -1.0}, "timeout_s"),
    ],
)
def test_a_wrong_argument_is_named_with_what_is_known(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(CommandRefused, match=words):
        read_arguments(Command(name="sql", arguments=arguments), SqlQuery)


@pytest.mark.parametrize(
    ("kind", "arguments", "words"),
    [
        (
            SessionThresholds,
            {"session": "s", "limits": {"ice_ring": "thick"}},
            "x: each value of limits must be a number or null, not text.",
        ),
        (SqlQuery, {"statement": 5}, "x: statement must be text, not a whole number."),
        (TaskRetry, {"task_ids": "t1"}, "x: task_ids must be a list, not text."),
    ],
)
def test_an_argument_of_another_kind_is_told_in_plain_words(
    kind: type[Arguments], arguments: dict[str, object], words: str
) -> None:
    with pytest.raises(CommandRefused) as refused:
        read_arguments(Command(name="x", arguments=arguments), kind)
    assert refused.value.message == words


@pytest.mark.parametrize(
    ("name", "key"),
    [(name, key) for name, kind in COMMANDS.items() for key in ("why", "reason") if key in kind.__struct_fields__],
)
def test_no_reason_is_longer_than_a_line_or_two(name: str, key: str) -> None:
    """It is kept with each image or task that it concerns, and goes out with each event."""
    needed: dict[str, object] = {"title": "", "values": {}}
    fields = set(COMMANDS[name].__struct_fields__)
    given: dict[str, object] = {
        field: needed.get(field, "x") for field in sorted({"session", "job", "stage", "title", "values"} & fields)
    }
    most: dict[str, object] = {**given, key: "x" * LONGEST_REASON}
    assert getattr(read_arguments(Command(name=name, arguments=most), COMMANDS[name]), key) == most[key]
    with pytest.raises(CommandRefused) as refused:
        read_arguments(Command(name=name, arguments={**given, key: "x" * (LONGEST_REASON + 1)}), COMMANDS[name])
    assert refused.value.message == f"{name}: {key} may have {LONGEST_REASON} characters at most."


def test_every_command_but_the_import_takes_a_reason() -> None:
    without = {name for name, kind in COMMANDS.items() if not {"why", "reason"} & set(kind.__struct_fields__)}
    assert without == {"session.import"}


def test_a_reply_carries_what_databases_and_paths_hold() -> None:
    data = {"at": datetime(2026, 1, 2, tzinfo=UTC), "path": Path("/gpfs/a"), "sum": Decimal("1.5"), "none": None}
    received = decode_reply(encode_reply(Reply(ok=True, data=data)))
    assert received == Reply(
        ok=True, data={"at": "2026-01-02T00:00:00Z", "path": "/gpfs/a", "sum": "1.5", "none": None}
    )


def test_what_json_cannot_hold_is_an_error_not_its_repr() -> None:
    with pytest.raises(TypeError, match="object cannot be sent"):
        encode_reply(Reply(ok=True, data=object()))


def test_an_error_keeps_its_words() -> None:
    error = PathOutsideRoots(Path("/etc"), [Path("/gpfs")])
    received = decode_reply(encode_reply(Reply(ok=False, error=ErrorInfo.from_error(error), page=Page(number=0, of=1))))
    assert received.error is not None
    assert (received.error.kind, str(received.error)) == (error.kind, str(error))


def test_every_name_is_a_legal_subject_and_is_either_command_or_query() -> None:
    subjects = Subjects()
    assert not COMMANDS.keys() & QUERIES.keys()
    for name in COMMANDS:
        assert subjects.asked_name(subjects.command(name)) == ("cmd", name)
    for name in QUERIES:
        assert subjects.asked_name(subjects.query(name)) == ("query", name)
