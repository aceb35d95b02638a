"""An error as it travels: in failed steps and in replies."""

import msgspec

from daemon.errors import ElcanoError


class ErrorInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong, in words for people, with the stable `kind` for programs."""

    kind: str
    message: str
    retryable: bool = False
    hint: str = ""

    @classmethod
    def from_error(cls, error: ElcanoError) -> "ErrorInfo":
        """Keep what the error says in the words it says it."""
        return cls(kind=error.kind, message=error.message, retryable=error.retryable, hint=error.hint)

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()
