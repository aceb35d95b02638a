"""Questions and commands as the responder takes them, without a bus."""

from collections.abc import Mapping
from typing import Any

import msgspec

from daemon.engine.answers import Handler
from daemon.messages import commands
from daemon.messages.commands import COMMANDS, QUERIES, Reply, encode_reply, read_arguments


async def ask_over_wire(
    handlers: Mapping[str, Handler], name: str, arguments: Mapping[str, Any], asked_by: str = "ada (operator)"
) -> Any:
    """Ask, and bring the answer over the wire."""
    command = commands.Command(name=name, arguments=dict(arguments))
    data = await handlers[name](read_arguments(command, {**COMMANDS, **QUERIES}[name]), asked_by)
    return msgspec.json.decode(encode_reply(Reply(ok=True, data=data)))["data"]
