from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.errors import MessageInvalid
from daemon.messages.envelope import Envelope, decode_envelope, encode_envelope, utc

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def envelope(**changes: object) -> Envelope:
    fields: dict[str, object] = {
        "id": "1",
        "source": "elcano/main",
        "type": "magellon.step.started",
        "subject": "magellon.job.j.step.ctf",
        "time": utc(1_700_000_000.25),
        "data": {"step": "ctf"},
    }
    return Envelope(**(fields | changes))  # type: ignore[arg-type]


def test_body_is_the_whole_cloudevent_in_one_json_object() -> None:
    assert encode_envelope(envelope()) == (
        b'{"specversion":"1.0","id":"1","source":"elcano/main","type":"magellon.step.started",'
        b'"subject":"magellon.job.j.step.ctf","time":"2023-11-14T22:13:20.250000Z",'
        b'"datacontenttype":"application/json","data":{"step":"ctf"}}'
    )


@settings(deadline=None, max_examples=60)
@given(
    data=st.dictionaries(st.text(), PLAIN, max_size=4),
    time=st.datetimes(timezones=st.just(UTC)),
    name=st.text(min_size=1),
)
def test_what_is_encoded_is_decoded(data: dict[str, object], time: datetime, name: str) -> None:
    sent = envelope(data=data, time=time, id=name)
    assert decode_envelope(encode_envelope(sent)) == sent


def test_time_of_another_zone_is_written_in_utc() -> None:
    local = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=2)))
    assert b'"time":"2026-01-02T01:04:05Z"' in encode_envelope(envelope(time=local))


def test_not_a_number_becomes_null() -> None:
    assert b'{"drift":null,"score":null}' in encode_envelope(
        envelope(data={"drift": float("nan"), "score": float("inf")})
    )


def test_attributes_of_other_senders_are_ignored() -> None:
    raw = msgspec.json.decode(encode_envelope(envelope())) | {"traceparent": "00-1"}
    assert decode_envelope(msgspec.json.encode(raw)) == envelope()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"specversion": "0.3"}, "specversion"),
        ({"time": "2026-01-02T03:04:05"}, "time"),
        ({"data": 3}, "data"),
        ({"id": None}, "id"),
    ],
)
def test_a_wrong_attribute_is_named(changes: dict[str, object], words: str) -> None:
    raw = msgspec.json.decode(encode_envelope(envelope())) | changes
    with pytest.raises(MessageInvalid, match=words):
        decode_envelope(msgspec.json.encode(raw))


@pytest.mark.parametrize("body", [b"", b"hello", b"[]", b"\xff\xfe", b'{"id": "1"}'])
def test_what_is_no_event_is_refused(body: bytes) -> None:
    with pytest.raises(MessageInvalid, match="Not a usable event"):
        decode_envelope(body)
