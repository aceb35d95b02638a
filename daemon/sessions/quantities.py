"""Numbers of session.json: decimals as strings, SI units, and several ways of saying unknown."""

import math
import re
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from daemon.domain.stage_position import StagePosition

_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,4})?", re.ASCII)
_LONGEST_DECIMAL = 100
_QUANTUM_M = Decimal("1E-10")
_FEWEST_QUANTA = 50
_UM_PER_M = 1e6

Note = Callable[[str, str], None]
"""Takes a key and what is wrong with its value, which then counts as unknown."""


def read_quantity(value: Any, key: str, note: Note) -> float | None:
    """Return a number that may be written as a string; null, empty, NaN and every kind of zero are unknown.

    Anything that is no number is noted and unknown.
    """
    decimal = _decimal(value)
    if decimal is None:
        if value is not None and value != "" and not (isinstance(value, float) and math.isnan(value)):
            note(key, f"{_shorten(value)} is not a number")
        return None
    number = float(decimal)
    if not math.isfinite(number):
        note(key, f"{_shorten(value)} is out of range")
        return None
    return number or None


def read_positive(value: Any, key: str, note: Note, *, highest: float = math.inf) -> float | None:
    """Return a number above zero and up to `highest`; others are noted and unknown."""
    number = read_quantity(value, key, note)
    if number is not None and not 0 < number <= highest:
        note(key, f"{_shorten(value)} is out of range")
        return None
    return number


def read_count(value: Any, key: str, note: Note) -> int | None:
    """Return a whole number above zero; others are noted and unknown."""
    number = read_positive(value, key, note)
    if number is not None and (number != int(number) or number > 2**53):
        note(key, f"{_shorten(value)} is not a whole number")
        return None
    return None if number is None else int(number)


def read_length_m(value: Any, key: str, note: Note) -> float | None:
    """Return a length in metres, unless it was rounded to 1e-10 m so coarsely that it is off by more than 1 %.

    Exporters keep ten decimals: a pixel of 0.66 Å becomes 0 (unknown) or 1E-10, which could be anything
    from 0.5 to 1.5 Å.
    """
    number = read_positive(value, key, note)
    if number is None or not isinstance(value, str):
        return number
    decimal = Decimal(value.strip())
    rounded = decimal.as_tuple().exponent == _QUANTUM_M.as_tuple().exponent
    if rounded and decimal < _FEWEST_QUANTA * _QUANTUM_M:
        note(key, f"{value} m is rounded too coarsely to be used")
        return None
    return number


def read_stage(image: Mapping[str, Any]) -> StagePosition | None:
    """Return where the stage stood (session.json gives radians and metres), None where it does not say.

    Here zero is an angle and a place like others: unknown is null.
    """
    alpha_rad, x_m, y_m = (_decimal(image.get(key)) for key in ("stage_alpha_tilt", "stage_x", "stage_y"))
    if alpha_rad is None or abs(alpha_rad) > math.pi:
        return None
    place = None if x_m is None or y_m is None else (float(x_m) * _UM_PER_M, float(y_m) * _UM_PER_M)
    return StagePosition(math.degrees(alpha_rad), place)


def is_zero(value: Any) -> bool:
    """Whether a value is a number, or a text of one, that is zero."""
    return _decimal(value) == 0


def _decimal(value: Any) -> Decimal | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return Decimal(value)
    if isinstance(value, float):
        return None if math.isnan(value) else Decimal(value)
    if isinstance(value, str) and len(value) <= _LONGEST_DECIMAL and _DECIMAL.fullmatch(value.strip()):
        try:
            return Decimal(value.strip())
        except InvalidOperation:
            return None
    return None


def _shorten(value: Any) -> str:
    text = repr(value) if isinstance(value, (str, int, float, bool)) else type(value).__name__
    return text if len(text) <= _LONGEST_DECIMAL else f"{text[:60]}…"
