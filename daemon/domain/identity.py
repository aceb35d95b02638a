"""Identifiers that come out the same whenever the same thing is met again."""

import hashlib
import json
import uuid
from collections.abc import Mapping
from typing import Any

_NAMESPACE = uuid.UUID("7d1c1d5e-6e3b-5b86-9a55-e1ca90000001")


def stable_id(*parts: str) -> str:
    """Return the UUID that belongs to these parts; the same parts give the same id on every machine."""
    return str(uuid.uuid5(_NAMESPACE, "\x1f".join(parts)))


def canonical_json(value: Mapping[str, Any]) -> str:
    """Serialise with sorted keys and no spaces, so that equal values give equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def parameters_hash(value: Mapping[str, Any]) -> str:
    """Return the first 16 hex digits of the sha256 of the canonical JSON of `value`."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:16]
