"""`elcano tui`: attach the terminal to a running daemon."""

import os
import sys
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.options import ConfigOption, fail_usage, read_settings

if TYPE_CHECKING:
    from daemon.bus.settings import BusSettings


def tui(
    url: Annotated[
        str | None, typer.Option("--url", metavar="NATS_URL", help="Server; unset: as the configuration says.")
    ] = None,
    look: Annotated[bool, typer.Option("--look", help="Look only, whatever else you may do.")] = False,
    web: Annotated[bool, typer.Option("--web", help="Serve the same in a browser, to look only unless --act.")] = False,
    act: Annotated[bool, typer.Option("--act", help="Let the pages of --web act as you may.")] = False,
    host: Annotated[
        str, typer.Option(help="Address that --web listens on; others than this machine's own: see [web] addresses.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of --web.")] = 8765,
    config: ConfigOption = None,
) -> None:
    """Watch jobs in the terminal, and act on them.

    Leave and come back at any time, several at once. It may be started before the daemon, which it waits for. Whoever
    may read nats.json in the state directory acts, whoever may read only nats-viewer.json looks.

    Example: elcano tui --config config.toml
    """
    from daemon.bus.settings import BusSettings

    settings = read_settings(config)
    bus = replace(BusSettings.of(settings.state, settings.bus), looks_only=look)
    if url is not None:
        bus = replace(bus, url=_checked(url))
    if web:
        _check_host(host, settings.web.addresses)
        _serve(host, port, url=url, config=config, look=look or not act)
    elif not (sys.stdin.isatty() and sys.stderr.isatty()) and not os.environ.get("TEXTUAL_DRIVER"):
        # It is drawn on standard error, so that what it prints can be redirected; in a browser another driver draws.
        fail_usage("there is no terminal to draw on. `elcano status` prints, `elcano tui --web` serves a browser.")
    else:
        _attach(bus)


def _checked(url: str) -> str:
    from urllib.parse import urlsplit

    from daemon.config.schema import URL_SCHEMES

    parts = urlsplit(url)
    if parts.scheme not in URL_SCHEMES or not parts.hostname:
        fail_usage(f"--url {url}: must look like nats://host:4222 (schemes: {', '.join(URL_SCHEMES)}).")
    return url


def _check_host(host: str, addresses: Collection[str]) -> None:
    from daemon.config.web import is_loopback

    if not is_loopback(host) and host not in addresses:
        fail_usage(
            f"--host {host}: is not this machine's own (127.0.0.1, ::1), and not among [web] addresses in config.toml."
        )


def _attach(bus: "BusSettings") -> None:
    import logging

    from tui.app import run_terminal
    from tui.link import BusLink
    from tui.read_mark import ReadMark
    from tui.widgets.graphics import ask_terminal

    # Nothing may be written over the screen; what goes wrong is told on it.
    logging.getLogger().addHandler(logging.NullHandler())
    ask_terminal()
    mark = ReadMark.of_person(f"{bus.url or bus.state_directory} {bus.instance}")
    run_terminal(BusLink(bus), mark)
    if mark.problem:
        print(f"elcano: what was read of the notifications is not remembered: {mark.problem}", file=sys.stderr)


def _serve(host: str, port: int, *, url: str | None, config: Path | None, look: bool) -> None:
    """Serve this command, for each page a process of it, in a browser."""
    from tui.web import serve

    command = [sys.executable, "-m", "daemon", "tui"]
    command += ["--look"] if look else []
    command += [] if url is None else ["--url", url]
    command += [] if config is None else ["--config", str(config.absolute())]
    try:
        serve(command, host, port)
    except OSError as error:
        fail_usage(f"cannot listen on {host}, port {port}: {error.strerror or error}. Another one: --port.")
