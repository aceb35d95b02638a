"""A terminal that a person sits at: tmux, with a server of its own."""

import contextlib
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_POLL_S = 0.1


@dataclass(frozen=True)
class Sitting:
    """Somebody before a screen of so many columns and rows."""

    program: str
    socket: Path

    def types(self, text: str) -> None:
        """Type a line, and Enter."""
        self._tmux("send-keys", "-l", text)
        self.press("Enter")

    def press(self, *keys: str) -> None:
        """Press keys, named as tmux does."""
        self._tmux("send-keys", *keys)

    def sees(self) -> str:
        """Return what stands on the screen."""
        return self._tmux("capture-pane", "-p")

    def wait_for(self, words: str | Sequence[str], *, timeout_s: float = 90.0) -> str:
        """Return the screen once it shows all of the words."""
        wanted = [words] if isinstance(words, str) else words
        until_s = time.monotonic() + timeout_s
        while not all(word in (screen := self.sees()) for word in wanted):
            assert time.monotonic() < until_s, f"waited for {wanted}:\n{screen}"
            time.sleep(_POLL_S)
        return screen

    def _tmux(self, *arguments: str) -> str:
        done = subprocess.run(
            [self.program, "-S", str(self.socket), *arguments], capture_output=True, text=True, check=True
        )
        return done.stdout


@contextlib.contextmanager
def sitting(
    program: str, socket: Path, folder: Path, environment: Mapping[str, str], *, columns: int, rows: int
) -> Iterator[Sitting]:
    """Sit down at a shell in a folder; whatever was started in it is gone in the end."""
    size = ("-x", str(columns), "-y", str(rows))
    command = [program, "-S", str(socket), "-f", "/dev/null", "new-session", "-d", *size, "env PS1='$ ' sh"]
    subprocess.run(command, cwd=folder, env={**environment, "TERM": "xterm-256color"}, check=True)
    person = Sitting(program, socket)
    try:
        yield person
    finally:
        subprocess.run([program, "-S", str(socket), "kill-server"], check=False, capture_output=True)
