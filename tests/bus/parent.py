"""A daemon that only has a NATS server: says where it is, then waits to be killed. `parent.py STATE_DIRECTORY`."""

import sys
from pathlib import Path

import anyio

from daemon.bus.embedded import EmbeddedServer
from daemon.bus.settings import BusSettings


async def main() -> None:
    server = EmbeddedServer(BusSettings(Path(sys.argv[1]), max_store_bytes=64 * 2**20))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.run)
        await server.started.wait()
        print(server.pid, flush=True)  # noqa: T201 - the test reads it
        await anyio.sleep_forever()


if __name__ == "__main__":
    anyio.run(main)
