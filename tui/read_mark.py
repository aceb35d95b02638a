"""Up to which moment a person has read the notifications of a daemon: kept between one terminal and the next."""

import json
import os
import tempfile
from pathlib import Path


class ReadMark:
    """A file of the person's own, with one moment for each daemon. Without it everything is unread, no more."""

    def __init__(self, path: Path, daemon: str) -> None:
        """`daemon` is what tells one daemon from another: where it is."""
        self._path = path
        self._daemon = daemon
        self.problem = ""
        """Why the mark could not be kept."""

    @classmethod
    def of_person(cls, daemon: str) -> "ReadMark":
        """Return the mark of who runs this terminal."""
        state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
        return cls(Path(state) / "elcano" / "notifications-read.json", daemon)

    def read(self) -> float:
        """Return the moment, the beginning of time where none is kept."""
        return self._marks().get(self._daemon, 0.0)

    def write(self, at_s: float) -> None:
        """Keep a moment; two terminals that do so at once both succeed, one of them in the end."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(dir=self._path.parent, prefix=".notifications-read-")
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump({**self._marks(), self._daemon: at_s}, file)
            Path(name).replace(self._path)
        except OSError as error:
            self.problem = f"{self._path} cannot be written: {error.strerror or error}."

    def _marks(self) -> dict[str, float]:
        try:
            kept = json.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}  # a mark that cannot be read is none
        if not isinstance(kept, dict):
            return {}
        return {str(daemon): float(at_s) for daemon, at_s in kept.items() if isinstance(at_s, int | float)}
