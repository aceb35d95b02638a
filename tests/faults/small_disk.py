"""Programs that run on a file system of a few MiB: `python -m tests.faults.small_disk PROGRAM FOLDER`.

Started by test_full_disk in a mount namespace of its own; they print what came out as JSON.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio

from daemon.errors import StoreUnavailable
from daemon.store import tasks
from daemon.store.store import Store
from tests.engine.workshop import Workshop
from tests.store.records import put_session

SHAPE_TYX = (3, 64, 64)
MOVIES = "abc"


def mount_small(folder: Path, size_kib: int) -> None:
    """Mount an empty file system of this size."""
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_kib}k", "tmpfs", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Leave not one byte free; returns the file to remove."""
    ballast = folder / "ballast"
    try:
        with ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
    except OSError:
        return ballast


async def process_on_full_home(folder: Path) -> dict[str, Any]:
    """Process movies into a home that is full until the third look for room."""
    mount_small(folder / "home", 8192)
    shop = Workshop(folder)
    try:
        await shop.open_session()
        paths = [shop.write_movie(name, seed, SHAPE_TYX) for seed, name in enumerate(MOVIES)]
        await shop.prove(*paths)
        ballast = fill(shop.home)
        waits: list[float] = []

        async def sleep(seconds: float) -> None:
            waits.append(seconds)
            if len(waits) == 3:
                ballast.unlink()

        shop.engine.room._sleep = sleep
        told = []
        begin = shop.engine.troubles.begin

        async def note(kind: str, message: str, hint: str, *, path: Path | None = None) -> None:
            told.append(message)
            await begin(kind, message, hint, path=path)

        shop.engine.troubles.begin = note  # type: ignore[method-assign]
        await shop.process()
        states = [str((await shop.movie(path)).state) for path in paths]
        attempts = [
            row
            for path in paths
            for task in (await shop.tasks_of(path)).values()
            for row in await tasks.attempts(shop.store, task.task_id)
        ]
        return {
            "states": states,
            "told": told,
            "waits": len(waits),
            "kinds": sorted({row.error_kind for row in attempts}),
            "outputs": {name: len(data) for name, data in shop.outputs().items() if name.endswith(".mrc")},
            "leftovers": [name for name in shop.outputs() if ".elcano-tmp" in name],
        }
    finally:
        shop.close()


async def fill_store(folder: Path) -> dict[str, Any]:
    """Commit until the store's disk is full; then make room, open it again and count."""
    mount_small(folder / "state", 8192)
    path = folder / "state" / "store.duckdb"
    kept = 0
    refusal = ""
    with Store.open(path) as store:
        ballast = fill(folder / "state")
        try:
            for number in range(5000):
                await store.commit(put_session(f"s{number}", f"grid{number}"))
                kept += 1
        except StoreUnavailable as error:
            refusal = str(error)
    refused_at_start = ""
    try:
        Store.open(path).close()
    except StoreUnavailable as error:
        refused_at_start = str(error)
    ballast.unlink()
    with Store.open(path) as store:
        await store.commit(put_session("last", "last"))
        found = await store.read(lambda connection: connection.execute("SELECT count(*) FROM session").fetchone())
    assert found is not None
    return {"kept": kept, "found": found[0], "refusal": refusal, "refused_at_start": refused_at_start}


PROGRAMS = {"home": process_on_full_home, "store": fill_store}

if __name__ == "__main__":
    print("RESULT " + json.dumps(anyio.run(PROGRAMS[sys.argv[1]], Path(sys.argv[2]))))  # noqa: T201 - read by the test
