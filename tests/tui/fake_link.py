"""A link without a bus: news are pushed by the test, questions are answered from a table and remembered."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from daemon.errors import BusUnavailable
from daemon.messages.commands import COMMANDS
from tui.core.link_state import LinkPhase, LinkState
from tui.core.model import News
from tui.link import Deliver

Answer = Any | Callable[[Mapping[str, Any]], Any]

NOT_RUNNING = LinkState(
    LinkPhase.NOT_RUNNING,
    message="No elcano daemon answers at /var/lib/elcano.",
    hint="Start it with `elcano run`, or name its configuration with --config.",
    config="/etc/elcano/night 2.toml",
)


def connected(role: str = "operator", connections: int = 1) -> LinkState:
    return LinkState(LinkPhase.CONNECTED, where="/state", role=role, connections=connections, was_connected=True)


class FakeLink:
    """Connected from the start unless told otherwise; `asked` is what was asked, in order."""

    def __init__(
        self, *news: News, role: str = "operator", state: LinkState | None = None, answers: Mapping[str, Answer] = {}
    ) -> None:
        nothing_said = {"run": "", "first": 1, "last": 0, "lines": []}
        self.answers: dict[str, Answer] = {"queues": {"paused": []}, "logs": nothing_said, **answers}
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self._first: list[News] = [state or connected(role), *news]
        self._deliver: Deliver | None = None

    async def run(self, deliver: Deliver) -> None:
        self._deliver = deliver
        deliver(self._first)
        await asyncio.Event().wait()

    async def ask(self, name: str, arguments: Mapping[str, Any] | None = None, *, timeout_s: float = 30.0) -> Any:
        self.asked.append((name, dict(arguments or {})))
        answer = self.answers.get(name)
        if answer is None:
            raise BusUnavailable(f"the test gave no answer to {name}")
        given = answer(arguments or {}) if callable(answer) else answer
        if isinstance(given, Exception):
            raise given
        return given

    def push(self, *news: Sequence[News] | News) -> None:
        """Deliver a batch, as the bus would."""
        assert self._deliver is not None, "the app has not begun to connect"
        self._deliver([item for part in news for item in (part if isinstance(part, Sequence) else [part])])

    def commands(self) -> list[tuple[str, dict[str, Any]]]:
        """Return what was asked, but queries."""
        return [(name, arguments) for name, arguments in self.asked if name in COMMANDS]
