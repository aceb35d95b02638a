"""Splits an answer into replies that fit the server's payload limit, and joins them again.

An answer may have 256 MiB. It is encoded slice by slice: the encoder lets no other thread run while it works, so that
in one piece it would make the event loop deaf for a second, on whatever thread it ran.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import msgspec

from daemon.errors import CommandRefused, MessageInvalid
from daemon.messages.commands import LARGEST_ANSWER_BYTES, Page, Reply, encode_data, encode_reply

_HEAD_BYTES = 512
"""Room for everything in a page but its rows: ok, page, brackets and commas are far less."""
_SLICE_BYTES = 256 * 2**10
_SLICE_ROWS = 256
"""Rows are encoded together until they reach one of these: a millisecond or two of work."""
_NUMBER_BYTES = 8
_DEEPEST_LOOK = 4


def split_reply(reply: Reply, limit_bytes: int) -> list[bytes]:
    """Return the bodies to send, one after the other, each at most `limit_bytes` long; to be called on a thread.

    An answer that is too long is split along its longest list: `data` itself, or one value of a mapping
    (the other values then travel on the first page). Raises CommandRefused when it has no such list or
    one row alone is too long, TypeError when it cannot be written as JSON.
    """
    answer = _Answer(limit_bytes)
    data = reply.data
    lists: dict[str, list[msgspec.Raw]] = {}
    rest: dict[str, msgspec.Raw] = {}
    if isinstance(data, list | tuple):
        lists[""] = answer.encode_rows(data)
    else:
        lists, rest = answer.encode_values(_mapping_of(data))
        if not lists and not rest:
            answer.add(_least_bytes(data), 1)
    if answer.size_bytes <= limit_bytes - _HEAD_BYTES:
        whole = encode_reply(reply)
        if len(whole) <= limit_bytes:
            return [whole]
    if not lists:
        raise CommandRefused(
            f"The answer has {answer.size_bytes / 2**20:.1f} MiB in one piece, which cannot be sent.",
            hint="Ask for less.",
        )
    key = max(lists, key=lambda name: sum(map(len, lists[name])))
    rest |= {name: _join(rows) for name, rows in lists.items() if name != key}
    beside_bytes = answer.left_out_bytes + sum(len(name) + len(value) + 8 for name, value in rest.items())
    first_room = limit_bytes - _HEAD_BYTES - beside_bytes
    if first_room < 0:
        raise CommandRefused(
            f"The answer has {beside_bytes / 2**20:.1f} MiB beside its rows, which cannot be sent.",
            hint="Ask for less.",
        )
    groups = list(_group(lists[key], first_room, limit_bytes - _HEAD_BYTES))
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


class _Answer:
    """Encodes the values of one answer, none of which is too long for its page, nor all of them together."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self.size_bytes = 0
        self.left_out_bytes = 0
        """Of values that are no lists and fit into no page: they are not even encoded."""

    def add(self, size_bytes: int, rows: int) -> None:
        """Count. Raises CommandRefused when the answer is too long, also before all of it has been encoded."""
        self.size_bytes += size_bytes + rows
        if self.size_bytes > LARGEST_ANSWER_BYTES:
            raise CommandRefused(
                f"The answer has more than the {LARGEST_ANSWER_BYTES // 2**20} MiB that can be sent.",
                hint="Ask for less: fewer columns, a filter, a LIMIT; or read the Parquet snapshots.",
            )

    def encode_values(self, values: Mapping[str, Any]) -> tuple[dict[str, list[msgspec.Raw]], dict[str, msgspec.Raw]]:
        """Return the rows of each value that is a list, and every other value whole."""
        lists: dict[str, list[msgspec.Raw]] = {}
        rest: dict[str, msgspec.Raw] = {}
        for name, value in values.items():
            self.add(len(name), 4)
            if isinstance(value, list | tuple):
                lists[name] = self.encode_rows(value)
            elif _least_bytes(value) > self._limit_bytes:
                self.left_out_bytes += _least_bytes(value)
                self.add(_least_bytes(value), 1)
            else:
                rest[name] = msgspec.Raw(encode_data(value))
                self.add(len(rest[name]), 1)
        return lists, rest

    def encode_rows(self, rows: Sequence[Any]) -> list[msgspec.Raw]:
        """Return each row encoded. Raises CommandRefused when one alone fits into no page."""
        encoded: list[msgspec.Raw] = []
        for piece in self._slices(rows):
            fresh = msgspec.json.decode(encode_data(piece), type=list[msgspec.Raw])
            self.add(sum(map(len, fresh)), len(fresh))
            encoded += fresh
        return encoded

    def _slices(self, rows: Sequence[Any]) -> Iterator[Sequence[Any]]:
        begin = size_bytes = 0
        for end, row in enumerate(rows):
            least_bytes = _least_bytes(row)
            if least_bytes > self._limit_bytes:
                raise _row_too_long(least_bytes)
            if end > begin and (end - begin >= _SLICE_ROWS or size_bytes + least_bytes > _SLICE_BYTES):
                yield rows[begin:end]
                begin, size_bytes = end, 0
            size_bytes += least_bytes
        yield rows[begin:]


def _mapping_of(data: Any) -> Mapping[str, Any]:
    """Return an answer's values by name; nothing for one that is not made of such."""
    if isinstance(data, Mapping):
        return data if all(isinstance(name, str) for name in data) else {}
    if isinstance(data, msgspec.Struct):
        return {field.encode_name: getattr(data, field.name) for field in msgspec.structs.fields(data)}
    if is_dataclass(data):
        return {field.name: getattr(data, field.name) for field in fields(data)}
    return {}


def _least_bytes(value: Any, depth: int = 0) -> int:
    """Return about how many bytes a value takes at least, without encoding it."""
    if isinstance(value, str | bytes):
        return len(value)
    if depth < _DEEPEST_LOOK and isinstance(value, Mapping):
        return sum(_least_bytes(name, depth + 1) + _least_bytes(part, depth + 1) for name, part in value.items())
    if depth < _DEEPEST_LOOK and isinstance(value, list | tuple):
        return sum(_least_bytes(part, depth + 1) for part in value)
    return _NUMBER_BYTES if not isinstance(value, int) else 1


def _join(rows: Sequence[msgspec.Raw]) -> msgspec.Raw:
    return msgspec.Raw(b"[" + b",".join(map(bytes, rows)) + b"]")


def _row_too_long(size_bytes: int) -> CommandRefused:
    return CommandRefused(
        f"One row of the answer has {size_bytes / 2**20:.1f} MiB, which cannot be sent.", hint="Ask for less."
    )


def _group(rows: Sequence[msgspec.Raw], first_room: int, room: int) -> Iterator[list[msgspec.Raw]]:
    group: list[msgspec.Raw] = []
    left = first_room
    for row in rows:
        needed = len(row) + 1
        if needed > room:
            raise _row_too_long(len(row))
        if needed > left:
            yield group
            group, left = [], room
        group.append(row)
        left -= needed
    yield group
