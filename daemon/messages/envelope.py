"""CloudEvents 1.0 in JSON: the whole body of every event that Elcano publishes."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, NamedTuple

import msgspec

from daemon.errors import MessageInvalid

Timestamp = Annotated[datetime, msgspec.Meta(tz=True)]
"""A moment with its zone; written as RFC 3339 in UTC."""


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """One event: who says it, what kind it is, where it was published, when it happened, and its data."""

    specversion: Literal["1.0"] = "1.0"
    id: str
    source: str
    type: str
    subject: str
    time: Timestamp
    datacontenttype: Literal["application/json"] = "application/json"
    data: dict[str, Any]


class Event(NamedTuple):
    """An envelope and the subject it is published on."""

    subject: str
    envelope: Envelope

    @property
    def id(self) -> str:
        """What consumers drop repeats by; also the `Nats-Msg-Id` header."""
        return self.envelope.id

    def body(self) -> bytes:
        """Return the bytes that are published, the same for the same event."""
        return encode_envelope(self.envelope)


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Envelope)


def utc(seconds_since_epoch: float) -> datetime:
    """Return the moment as an aware UTC datetime, to the microsecond."""
    return datetime.fromtimestamp(seconds_since_epoch, UTC)


def encode_envelope(envelope: Envelope) -> bytes:
    """Serialise; times in UTC with a Z, NaN and infinities as null, as JSON has neither."""
    if envelope.time.utcoffset():
        envelope = msgspec.structs.replace(envelope, time=envelope.time.astimezone(UTC))
    return _ENCODER.encode(envelope)


def decode_envelope(body: bytes) -> Envelope:
    """Parse a body; keys that CloudEvents allows beyond ours are ignored. Raises MessageInvalid."""
    try:
        return _DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MessageInvalid("event", str(error)) from error
