"""What several commands share: the --config option, settings, and how tables and errors are shown."""

import os
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from daemon.bus.client import BusClient
    from daemon.config.schema import Settings

T = TypeVar("T")

_HOME_LIMIT_S = 5.0
"""How long the home may take to say who works in it."""

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        help="The configuration. Unset: $ELCANO_CONFIG, else ./config.toml, ~/.config/elcano/config.toml or "
        "/etc/elcano/config.toml.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]


def read_settings(config: Path | None, *, with_stages: bool = False) -> "Settings":
    """Find and check the configuration. Raises ConfigurationInvalid; exits 2 when the named file is not there.

    The parameters of stages are checked only where they are wanted.
    """
    from daemon.config.loader import load_settings

    path = find_configuration(config)
    if not with_stages:
        return load_settings(path, None, os.environ)
    from daemon.app.parameters import stage_parameters

    return load_settings(path, stage_parameters(), os.environ)


def read_settings_to_ask(config: Path | None) -> "Settings":
    """Read what a command needs that only asks the running daemon, which has a configuration of its own.

    What is wrong with the rest is told in one line. Raises ConfigurationInvalid where it cannot be known whom to ask;
    exits 2 when the named file is not there.
    """
    from daemon.config.loader import load_to_ask

    path = find_configuration(config)
    settings, problems = load_to_ask(path, os.environ)
    if problems:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems, the first"
        check = "`elcano config check" + (f" --config {path}" if config is not None else "") + "` tells all"
        print(f"elcano: {path or 'environment'} has {count}: {problems[0]}; {check}.", file=sys.stderr)
    return settings


def find_configuration(config: Path | None) -> Path | None:
    """Return the file that holds, None where there is none; exits 2 when one is named that is not there."""
    from daemon.config.finding import find_config

    path = find_config(config, os.environ)
    if path is not None and not path.is_file():
        fail_usage(f"{path}: there is no such file. Name an existing one with --config.")
    return path


def fail_usage(sentence: str) -> None:
    """Say what is wrong with the call and exit 2."""
    print(f"elcano: {sentence}", file=sys.stderr)
    raise typer.Exit(2)


def ask_daemon(settings: "Settings", work: "Callable[[BusClient], Coroutine[Any, Any, T]]") -> T:
    """Connect to the running daemon and do `work` with it.

    Raises DaemonNotRunning, and BusUnavailable, also where a process owns the state and does not answer yet.
    """
    import anyio

    from daemon.bus.client import BusClient
    from daemon.bus.settings import BusSettings
    from daemon.errors import BusUnavailable, DaemonNotRunning

    async def connected() -> T:
        async with BusClient(BusSettings.of(settings.state, settings.bus)) as client:
            return await work(client)

    try:
        return anyio.run(connected)
    except DaemonNotRunning as error:
        from daemon.store.connection import living_owner

        owner = living_owner(settings.store_path)
        if owner is None:
            if (elsewhere := _find_elsewhere(settings)) is not None:
                raise DaemonNotRunning(error.where, elsewhere) from error
            raise
        raise BusUnavailable(
            f"The daemon at {settings.state}, {owner}, does not answer yet: it is starting or busy.",
            hint="Ask again in a moment.",
        ) from error


def _find_elsewhere(settings: "Settings") -> str | None:
    """Say which daemon of another node works in the home; a home that does not answer keeps nobody waiting."""
    from functools import partial

    import anyio

    from daemon.app.ownership import find_living_elsewhere
    from daemon.errors import FileUnanswered
    from daemon.formats.detached import PatientCalls

    try:
        return anyio.run(
            PatientCalls(_HOME_LIMIT_S).call, settings.paths.home, partial(find_living_elsewhere, settings)
        )
    except FileUnanswered as error:
        print(f"elcano: {error}", file=sys.stderr)
        return None


def answer_of(settings: "Settings", name: str, arguments: dict[str, Any], *, timeout_s: float = 30.0) -> Any:
    """Ask one command or query and return its data. Raises what the daemon refused as CommandRefused."""
    from daemon.errors import CommandRefused

    async def ask(client: "BusClient") -> Any:
        reply = await client.request(name, arguments, timeout_s=timeout_s)
        if not reply.ok:
            assert reply.error is not None
            raise CommandRefused(reply.error.message, hint=reply.error.hint)
        return reply.data

    return ask_daemon(settings, ask)
