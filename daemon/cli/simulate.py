"""`elcano simulate`: write a simulated microscope session."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from daemon.errors import ElcanoError
    from daemon.simulator.plan import MovieSize
    from daemon.simulator.session import SimulatedSession, SimulationProgress


class SizeChoice(StrEnum):
    """Sizes of movies."""

    TINY = "tiny"
    SMALL = "small"
    K3 = "k3"


class MovieFormatChoice(StrEnum):
    """Formats of movies; mixed takes the first three in turn, all every one."""

    MRC = "mrc"
    TIFF = "tiff"
    EER = "eer"
    MRC4 = "mrc4"
    TIFF_TILED = "tiff-tiled"
    EER65000 = "eer65000"
    EER65002 = "eer65002"
    MIXED = "mixed"
    ALL = "all"


class WriterChoice(StrEnum):
    """How fast a file grows."""

    FAST = "fast"
    SLOW = "slow"


class ManifestChoice(StrEnum):
    """Kinds of session.json."""

    ELCANO = "elcano"
    MAGELLON = "magellon"
    NONE = "none"


def simulate(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The session is written to DIR/<session name>.")],
    *,
    session: Annotated[str, typer.Option(help="Name of the session.")] = "simulated",
    movies: Annotated[int, typer.Option(min=1, help="Number of movies.")] = 6,
    size: Annotated[
        SizeChoice, typer.Option(help="tiny: 512², 12 frames. small: 2048², 24. k3: 5760×4092, 40.")
    ] = SizeChoice.TINY,
    movie_format: Annotated[
        MovieFormatChoice,
        typer.Option("--format", help="File format (mrc4: 4-bit); mixed takes mrc, tiff, eer in turn, all every one."),
    ] = MovieFormatChoice.TIFF,
    rate: Annotated[float, typer.Option(min=0, help="Movies per hour; 0 writes as fast as possible.")] = 0.0,
    writer: Annotated[
        WriterChoice,
        typer.Option(help="slow: each file grows over 60 % of the interval between movies (10 s at rate 0)."),
    ] = WriterChoice.FAST,
    in_place: Annotated[
        bool, typer.Option("--in-place/--rename", help="Grow under the final name, or as .part, renamed when whole.")
    ] = False,
    prepare: Annotated[
        bool, typer.Option("--prepare", help="Make all movies first (in the temporary folder), then let them arrive.")
    ] = False,
    seed: Annotated[int, typer.Option(help="The same seed writes the same session.")] = 1,
    pixel_size: Annotated[
        float | None, typer.Option("--pixel-size", min=0.1, max=20, help="Å per pixel, else that of the size.")
    ] = None,
    manifest: Annotated[
        ManifestChoice,
        typer.Option(help="session.json: with acquisition block, as Magellon exports it, or none."),
    ] = ManifestChoice.ELCANO,
    camera_faults: Annotated[bool, typer.Option("--camera-faults", help="A camera with dark and defects.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
) -> None:
    """Write a session of simulated movies, as a microscope would.

    They show particles in ice, and the truth is known. Beside the movies lie gains/gain.mrc, session.json and
    truth.json (motion, defocus, particles).

    Example: elcano simulate /tmp/gpfs --session 24dec03a --movies 20 --size small --rate 300 --writer slow
    """
    from daemon.errors import ElcanoError
    from daemon.simulator.arrival import Arrival
    from daemon.simulator.plan import SIZES, SessionRequest, plan_session
    from daemon.simulator.session import write_session

    chosen = SIZES[size.value]
    if pixel_size is not None:
        chosen = replace(chosen, pixel_size_ang=pixel_size)
    request = SessionRequest(
        session, movies, chosen, movie_format.value, seed=seed, manifest=manifest.value, camera_faults=camera_faults
    )
    arrival = Arrival(rate, writer.value, in_place=in_place, prepared=prepare)
    try:
        plan = plan_session(request)
        with _progress(movies, f"{describe_movies(movies, chosen)}, in {directory / session}") as on_progress:
            written = write_session(plan, directory, arrival, on_progress=on_progress)
    except ElcanoError as error:
        raise _tell(error) from error
    _report(written, as_json=as_json)


def describe_movies(movies: int, size: "MovieSize") -> str:
    """Say how many movies of what size."""
    return (
        f"{movies} {'movie' if movies == 1 else 'movies'} of {size.frames} frames, {size.width_px}×{size.height_px} px"
    )


def _tell(error: "ElcanoError") -> typer.Exit:
    """Say why nothing was written; what was asked for wrongly is exit 2."""
    from daemon.errors import FileNotWritten, SimulationInvalid

    hint = " Name a DIR that you may write to, on a disk with room for the movies."
    typer.echo(error.message + hint if isinstance(error, FileNotWritten) else str(error), err=True)
    return typer.Exit(2 if isinstance(error, SimulationInvalid) else 1)


def _report(written: "SimulatedSession", *, as_json: bool) -> None:
    if as_json:
        facts = {
            "directory": str(written.directory),
            "movies": [str(path) for path in written.movies],
            "truth": str(written.directory / "truth.json"),
            "total_bytes": written.total_bytes,
            "late_s": round(written.late_s, 3),
        }
        print(json.dumps(facts, ensure_ascii=False))
        return
    megabytes = written.total_bytes / 1e6
    print(f"{len(written.movies)} movies, {megabytes:.1f} MB, in {written.directory}")
    if written.late_s > 1:
        typer.echo(
            f"This machine could not keep the rate: the latest movie came {written.late_s:.0f} s late; try --prepare.",
            err=True,
        )


@contextmanager
def _progress(movies: int, what: str) -> "Iterator[Callable[[SimulationProgress], None]]":
    """Tell on stderr how far it is: a bar over all movies on a terminal, a line for each movie elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield PlainProgress(movies, what).show
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("simulating", total=movies)

        def show(event: "SimulationProgress") -> None:
            done = event.index + (1 if event.phase == "written" else 0)
            percent = f" {100 * event.current // max(event.total, 1)} %" if event.phase in {"making", "writing"} else ""
            progress.update(task, completed=done, description=f"{event.phase}{percent} {event.name}")

        yield show


class PlainProgress:
    """Lines on stderr: what is simulated, and again whenever one more movie is made or written."""

    def __init__(self, movies: int, what: str) -> None:
        self._movies = movies
        self._what = what
        self._said = ""

    def show(self, event: "SimulationProgress") -> None:
        """Say what is new in this event."""
        if not self._said:
            self._say(f"simulating {self._what}")
        if event.phase == "written":
            self._say(f"written {event.index + 1} of {self._movies}")
        elif event.phase == "making" and event.current >= event.total:
            self._say(f"made {event.index + 1} of {self._movies}")

    def _say(self, line: str) -> None:
        if line != self._said:
            self._said = line
            typer.echo(line, err=True)
