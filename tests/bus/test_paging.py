from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.bus import paging
from daemon.bus.paging import join_replies, split_reply
from daemon.errors import CommandRefused, MessageInvalid
from daemon.messages.commands import Reply, decode_reply, encode_data


class Rows(msgspec.Struct):
    """An answer that is typed at both ends."""

    rows: list[Any]
    columns: list[str]


ROWS = st.lists(st.lists(st.integers() | st.text(max_size=60) | st.none(), max_size=4), max_size=60)
LIMIT_BYTES = 1500


@settings(deadline=None, max_examples=150)
@given(rows=ROWS, columns=st.lists(st.text(max_size=8), max_size=3), is_list=st.booleans())
def test_pages_fit_and_join_to_the_same_answer(rows: list[Any], columns: list[str], is_list: bool) -> None:
    data: Any = rows if is_list else {"columns": columns, "rows": rows, "truncated": True}
    bodies = split_reply(Reply(ok=True, data=data), LIMIT_BYTES)
    assert max(map(len, bodies)) <= LIMIT_BYTES
    assert join_replies([decode_reply(body) for body in bodies]) == Reply(ok=True, data=data)


def test_a_short_answer_is_one_message_without_a_page() -> None:
    (body,) = split_reply(Reply(ok=True, data=[1, 2]), LIMIT_BYTES)
    assert body == b'{"ok":true,"data":[1,2]}'


def test_every_page_can_be_read_by_itself() -> None:
    rows = [["x" * 100, number] for number in range(40)]
    pages = [
        decode_reply(body)
        for body in split_reply(Reply(ok=True, data={"rows": rows, "columns": ["a", "b"]}), LIMIT_BYTES)
    ]
    assert len(pages) > 3
    assert pages[0].data["columns"] == ["a", "b"]
    assert [set(page.data) for page in pages[1:]] == [{"rows"}] * (len(pages) - 1)
    assert [(page.page.number, page.page.of) for page in pages if page.page] == [
        (number, len(pages)) for number in range(len(pages))
    ]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("x" * 3000, "in one piece"),
        ({"text": "x" * 3000}, "in one piece"),
        (["x" * 3000], "One row"),
        ({"rows": [["short"], ["x" * 3000]]}, "One row"),
    ],
)
def test_what_cannot_be_split_is_refused(data: Any, words: str) -> None:
    with pytest.raises(CommandRefused, match=words):
        split_reply(Reply(ok=True, data=data), LIMIT_BYTES)


def test_large_companions_of_the_list_leave_it_room() -> None:
    data = {"notes": "n" * 900, "rows": [["x" * 100]] * 30}
    bodies = split_reply(Reply(ok=True, data=data), LIMIT_BYTES)
    assert max(map(len, bodies)) <= LIMIT_BYTES
    assert join_replies([decode_reply(body) for body in bodies]).data == data


def test_companions_that_do_not_fit_are_refused() -> None:
    with pytest.raises(CommandRefused, match="beside its rows"):
        split_reply(Reply(ok=True, data={"notes": "n" * 1600, "rows": list(range(2000))}), LIMIT_BYTES)


@pytest.mark.parametrize("shape", ["rows", "mapping", "struct"])
def test_no_slice_is_encoded_for_long(monkeypatch: pytest.MonkeyPatch, shape: str) -> None:
    """The encoder lets no other thread run: what it is handed at once bounds how long the event loop is deaf."""
    slices: list[int] = []

    def measure(value: Any) -> bytes:
        encoded = encode_data(value)
        slices.append(len(encoded))
        return encoded

    monkeypatch.setattr(paging, "encode_data", measure)
    monkeypatch.setattr(paging, "encode_reply", measure)
    # Short rows first: how long the next ones are does not follow from them.
    rows = [[number] for number in range(3000)] + [["x" * 1000, number] for number in range(20_000)]
    data = {"rows": rows, "mapping": {"columns": ["a"], "rows": rows}, "struct": Rows(rows=rows, columns=["a"])}[shape]
    limit_bytes = 2**20
    bodies = split_reply(Reply(ok=True, data=data), limit_bytes)
    assert sum(slices) > 2 * 20e6, "once as rows, once as pages"
    assert max(slices) <= limit_bytes
    joined = join_replies([decode_reply(body) for body in bodies]).data
    assert (joined if shape == "rows" else joined["rows"]) == rows


def test_an_answer_that_is_too_large_is_refused_before_all_of_it_is_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[Any] = []

    def note(value: Any) -> bytes:
        encoded.append(value)
        return encode_data(value)

    monkeypatch.setattr(paging, "LARGEST_ANSWER_BYTES", 10_000)
    monkeypatch.setattr(paging, "encode_data", note)
    with pytest.raises(CommandRefused, match="more than"):
        split_reply(Reply(ok=True, data=[["x" * 100]] * 100_000), LIMIT_BYTES)
    assert len(encoded) == 1
    with pytest.raises(CommandRefused, match="One row"):
        split_reply(Reply(ok=True, data=[["x" * 2000]]), LIMIT_BYTES)
    assert len(encoded) == 1, "nor is a row that fits into no page"


def test_a_missing_page_is_noticed() -> None:
    bodies = split_reply(Reply(ok=True, data=list(range(2000))), LIMIT_BYTES)
    pages = [decode_reply(body) for body in bodies]
    with pytest.raises(MessageInvalid, match="pages"):
        join_replies(pages[:-1])
    with pytest.raises(MessageInvalid, match="pages"):
        join_replies([pages[0], *pages[2:], pages[1]])
