"""How a command ended."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Answer:
    """Exit code and what was said where."""

    code: int
    out: str
    err: str


Elcano = Callable[..., Answer]
