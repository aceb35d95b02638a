"""What every error has, and one thing wrong among several."""

from dataclasses import dataclass


class ElcanoError(Exception):
    """Base of all: a message a microscopist can act on."""

    kind = "internal"
    retryable = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


@dataclass(frozen=True)
class Problem:
    """One thing wrong in a configuration or manifest: where, what, and what would be right."""

    where: str
    what: str
    hint: str = ""
    line: int | None = None

    def __str__(self) -> str:
        where = f"line {self.line}, {self.where}" if self.line else self.where
        return f"{where}: {self.what} ({self.hint})" if self.hint else f"{where}: {self.what}"
