"""Splits an answer into replies that fit the server's payload limit, and joins them again."""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from daemon.errors import CommandRefused, MessageInvalid
from daemon.messages.commands import LARGEST_ANSWER_BYTES, Page, Reply, encode_reply

_HEAD_BYTES = 512
"""Room for everything in a page but its rows: ok, page, brackets and commas are far less."""


def split_reply(reply: Reply, limit_bytes: int) -> list[bytes]:
    """Return the bodies to send, one after the other, each at most `limit_bytes` long.

    An answer that is too long is split along its longest list: `data` itself, or one value of a mapping
    (the other values then travel on the first page). Raises CommandRefused when it has no such list or
    one row alone is too long, TypeError when it cannot be written as JSON.
    """
    whole = encode_reply(reply)
    if len(whole) <= limit_bytes:
        return [whole]
    if len(whole) > LARGEST_ANSWER_BYTES:
        raise CommandRefused(
            f"The answer has {len(whole) / 2**20:.0f} MiB, more than {LARGEST_ANSWER_BYTES // 2**20} can be sent.",
            hint="Ask for less: fewer columns, a filter, a LIMIT; or read the Parquet snapshots.",
        )
    data = msgspec.json.decode(whole, type=_Split).data
    key, rows, rest = _longest_list(data)
    first_room = limit_bytes - _HEAD_BYTES - sum(len(name) + len(value) + 8 for name, value in rest.items())
    if first_room < 0:
        raise CommandRefused(
            f"The answer has {sum(map(len, rest.values())) / 2**20:.1f} MiB beside its rows, which cannot be sent.",
            hint="Ask for less.",
        )
    groups = list(_group(rows, first_room, limit_bytes - _HEAD_BYTES))
    bodies = []
    for number, group in enumerate(groups):
        part: Any = group if not key else {**(rest if number == 0 else {}), key: group}
        page = Page(number=number, of=len(groups), key=key)
        bodies.append(encode_reply(Reply(ok=reply.ok, error=reply.error, data=part, page=page)))
    return bodies


def join_replies(pages: Sequence[Reply]) -> Reply:
    """Return the whole answer from all its pages, in order. Raises MessageInvalid when one is missing."""
    first = pages[0]
    if first.page is None:
        return first
    numbers = [reply.page.number if reply.page else -1 for reply in pages]
    if numbers != list(range(first.page.of)):
        raise MessageInvalid("reply", f"pages {numbers} came of {first.page.of}")
    key = first.page.key
    rows = [row for reply in pages for row in (reply.data[key] if key else reply.data)]
    return msgspec.structs.replace(first, data={**first.data, key: rows} if key else rows, page=None)


class _Split(msgspec.Struct):
    data: msgspec.Raw


def _longest_list(data: msgspec.Raw) -> tuple[str, list[msgspec.Raw], dict[str, msgspec.Raw]]:
    try:
        return "", msgspec.json.decode(data, type=list[msgspec.Raw]), {}
    except msgspec.ValidationError:
        pass  # not a list: a mapping of which one value is
    try:
        values = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    except msgspec.ValidationError:
        values = {}
    lists = {name: value for name, value in values.items() if bytes(memoryview(value)[:1]) == b"["}
    if not lists:
        raise CommandRefused(
            f"The answer has {len(data) / 2**20:.1f} MiB in one piece, which cannot be sent.", hint="Ask for less."
        )
    key = max(lists, key=lambda name: len(lists[name]))
    rest = {name: value for name, value in values.items() if name != key}
    return key, msgspec.json.decode(lists[key], type=list[msgspec.Raw]), rest


def _group(rows: Sequence[msgspec.Raw], first_room: int, room: int) -> Iterator[list[msgspec.Raw]]:
    group: list[msgspec.Raw] = []
    left = first_room
    for row in rows:
        needed = len(row) + 1
        if needed > room:
            raise CommandRefused(
                f"One row of the answer has {len(row) / 2**20:.1f} MiB, which cannot be sent.", hint="Ask for less."
            )
        if needed > left:
            yield group
            group, left = [], room
        group.append(row)
        left -= needed
    yield group
