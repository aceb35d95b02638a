"""`elcano demo`: a simulated session arrives live, is processed, and is compared with its truth."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.simulate import SizeChoice, describe_movies

if TYPE_CHECKING:
    from daemon.app.daemon import Daemon
    from daemon.cli.demo_view import DemoView

_CONFIG = """\
# Written by `elcano demo`: everything stays under this folder.
[paths]
gpfs = "gpfs"
home = "home"
state = "state"

[limits]
disk_reserve_gib = 0.1
"""


_SECONDS_TO_START = 20
_SECONDS_PER_MOVIE = {SizeChoice.TINY: 3, SizeChoice.SMALL: 28, SizeChoice.K3: 270}
"""On two cores, which make the movies too."""


class DemoFormat(StrEnum):
    """Formats of the demo's movies."""

    MIXED = "mixed"
    MRC = "mrc"
    TIFF = "tiff"
    EER = "eer"


def demo(
    movies: Annotated[int, typer.Option(min=1, max=10_000, help="Number of movies.")] = 6,
    size: Annotated[SizeChoice, typer.Option(help="tiny: 512², small: 2048², k3: 5760×4092.")] = SizeChoice.SMALL,
    home: Annotated[Path | None, typer.Option(help="Folder for everything; unset: elcano-data/demo.")] = None,
    headless: Annotated[
        bool, typer.Option("--headless", help="Progress on standard error, no terminal panel.")
    ] = False,
    rate: Annotated[float, typer.Option(min=0, help="Movies per hour; 0 = as fast as this machine can.")] = 240.0,
    movie_format: Annotated[DemoFormat, typer.Option("--format", help="File format.")] = DemoFormat.MIXED,
) -> None:
    """Simulate a microscope and process what it writes.

    In the end the results are compared with the truth.

    A second process plays the microscope and knows the truth; the daemon only sees the files.

    Example: elcano demo --movies 3 --size tiny
    """
    import os

    base = _new_folder(home or Path("elcano-data/demo"))
    typer.echo(announce(movies, size, rate, base), err=True)

    import anyio

    from daemon.app.daemon import Daemon
    from daemon.app.parameters import stage_parameters
    from daemon.cli.demo_view import DemoView
    from daemon.cli.logs import set_up_logs_in
    from daemon.config.loader import load_settings

    config = base / "config.toml"
    config.write_text(_CONFIG, encoding="utf-8")
    settings = load_settings(config, stage_parameters(), os.environ)
    settings.paths.gpfs.mkdir(parents=True)
    set_up_logs_in(base / "elcano.log", settings.log.level)
    session = base.name
    microscope = [
        *(sys.executable, "-m", "daemon", "simulate", str(settings.paths.gpfs), "--session", session),
        *("--movies", str(movies), "--size", size.value, "--format", movie_format.value, "--rate", str(rate)),
    ]
    daemon = Daemon(settings)
    view = DemoView(daemon.store, session, movies, stages=daemon.engine.graph.names, is_plain=headless)
    try:
        simulator_log = base / "microscope.log"
        is_done = anyio.run(_run, daemon, view, microscope, simulator_log)
        if not is_done:
            print(f"elcano: the simulated microscope failed: see {simulator_log}.", file=sys.stderr)
            raise typer.Exit(1)
        is_good = view.show_results(settings.paths.gpfs / session, settings.paths.home / session)
        asked = f"{_own_command()} query --config {config}"
        print(f"\nlog: {base / 'elcano.log'}\nask: {asked} 'SELECT * FROM micrographs'")  # noqa: S608 - words
    finally:
        daemon.close()
    raise typer.Exit(0 if is_good else 1)


def announce(movies: int, size: SizeChoice, rate: float, folder: Path) -> str:
    """Say what will be simulated, where, and roughly how long it takes."""
    from math import ceil

    from daemon.simulator.plan import SIZES

    each_s = max(_SECONDS_PER_MOVIE[size], 3600 / rate if rate else 0)
    minutes = ceil((_SECONDS_TO_START + movies * each_s) / 60)
    pace = f"arriving at {rate:g} per hour" if rate else "arriving as fast as they are made"
    return (
        f"simulating {describe_movies(movies, SIZES[size.value])}, {pace}, and processing them, in {folder}: "
        f"about {minutes} min on two cores"
    )


async def _run(daemon: "Daemon", view: "DemoView", microscope: list[str], simulator_log: Path) -> bool:
    """Run daemon and microscope together until every movie has its final state."""
    import os

    import anyio

    async with anyio.create_task_group() as group:
        group.start_soon(daemon.run)
        # The microscope takes one core, so that it leaves the others to the daemon.
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        with simulator_log.open("wb") as output:
            process = await anyio.open_process(microscope, stdout=output, stderr=output, env=environment)
        try:
            with view:
                while process.returncode is None or not await view.is_finished():
                    view.update()
                    if process.returncode not in {None, 0}:
                        return False
                    await anyio.sleep(0.25)
                view.update()
            await daemon.housekeeping.write_snapshots()
        finally:
            if process.returncode is None:
                process.kill()
            group.cancel_scope.cancel()
    return True


def _own_command() -> str:
    """How the shell that ran this can run it again: by name where it finds it, else by path."""
    import shutil

    beside = Path(sys.executable).parent / "elcano"
    return "elcano" if shutil.which("elcano") or not beside.exists() else str(beside)


def _new_folder(home: Path) -> Path:
    """Make `demo-N` with the first free N: an earlier demo's results stay."""
    number = 1
    while True:
        folder = home.absolute() / f"demo-{number}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            number += 1
        else:
            return folder
