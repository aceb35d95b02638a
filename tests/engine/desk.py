"""A workshop and the commands it takes, asked as the responder asks them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daemon.engine.controls import Controls
from daemon.messages import commands
from daemon.messages.commands import COMMANDS, QUERIES, Reply, encode_reply, read_arguments
from daemon.store import ledger
from tests.engine.workshop import Workshop


@dataclass
class Desk:
    """Where a person with the operator's role asks."""

    shop: Workshop
    controls: Controls

    async def ask(self, name: str, **arguments: Any) -> Any:
        """Ask as the responder does; the answer must survive the way to the wire."""
        kind = {**COMMANDS, **QUERIES}[name]
        command = commands.Command(name=name, arguments=arguments)
        data = await self.controls.handlers()[name](read_arguments(command, kind), "ada (operator)")
        encode_reply(Reply(ok=True, data=data))
        return data

    async def moves(self, path: Path) -> list[tuple[str, str | None, str, str | None]]:
        """What people did to a movie and its tasks: subject, from, to, who."""
        movie = await self.shop.movie(path)
        history = await ledger.history(self.shop.store, movie.movie_id)
        return [(move.subject, move.from_state, move.to_state, move.asked_by) for move in history if move.asked_by]

    async def finish(self, *names: str, seeds: Sequence[int] = ()) -> list[Path]:
        """Process movies of these names."""
        given = seeds or range(1, len(names) + 1)
        paths = [self.shop.write_movie(name, seed=seed) for name, seed in zip(names, given, strict=True)]
        await self.shop.prove(*paths)
        await self.shop.process()
        return paths
