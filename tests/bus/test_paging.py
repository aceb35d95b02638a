from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.bus.paging import join_replies, split_reply
from daemon.errors import CommandRefused, MessageInvalid
from daemon.messages.commands import Reply, decode_reply

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


def test_a_missing_page_is_noticed() -> None:
    bodies = split_reply(Reply(ok=True, data=list(range(2000))), LIMIT_BYTES)
    pages = [decode_reply(body) for body in bodies]
    with pytest.raises(MessageInvalid, match="pages"):
        join_replies(pages[:-1])
    with pytest.raises(MessageInvalid, match="pages"):
        join_replies([pages[0], *pages[2:], pages[1]])
