"""`elcano tui`: attach the terminal to a running daemon."""

import os
import sys
from collections.abc import Collection
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from daemon.cli.options import ConfigOption, fail_usage, find_configuration, read_settings


class Pictures(StrEnum):
    """What pictures may be drawn with."""

    AUTO = "auto"
    SIXEL = "sixel"
    KITTY = "kitty"
    CELLS = "cells"


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
    pictures: Annotated[
        Pictures,
        typer.Option(
            envvar="ELCANO_PICTURES",
            help="What pictures are drawn with, where the terminal's own answer (auto) is wrong; cells: everywhere.",
        ),
    ] = Pictures.AUTO,
    config: ConfigOption = None,
) -> None:
    """Watch jobs in the terminal, and act on them.

    Leave and come back at any time, several at once. It may be started before the daemon, which it waits for. Whoever
    may read nats.json in the state directory acts, whoever may read only nats-viewer.json looks.

    Example: elcano tui --config config.toml
    """
    if url is not None:
        _check(url)
    if web:
        _check_host(host, read_settings(config).web.addresses)
        _serve(host, port, url=url, config=config, look=look or not act)
    elif not (sys.stdin.isatty() and sys.stderr.isatty()) and not os.environ.get("TEXTUAL_DRIVER"):
        # It is drawn on standard error, so that what it prints can be redirected; in a browser another driver draws.
        fail_usage("there is no terminal to draw on. `elcano status` prints, `elcano tui --web` serves a browser.")
    else:
        _attach(find_configuration(config), url, pictures, look=look)


def _check(url: str) -> None:
    from urllib.parse import urlsplit

    from daemon.config.schema import URL_SCHEMES

    parts = urlsplit(url)
    if parts.scheme not in URL_SCHEMES or not parts.hostname:
        fail_usage(f"--url {url}: must look like nats://host:4222 (schemes: {', '.join(URL_SCHEMES)}).")


def _check_host(host: str, addresses: Collection[str]) -> None:
    from daemon.config.web import is_loopback

    if not is_loopback(host) and host not in addresses:
        fail_usage(
            f"--host {host}: is not this machine's own (127.0.0.1, ::1), and not among [web] addresses in config.toml."
        )


def _attach(config: Path | None, url: str | None, pictures: Pictures, *, look: bool) -> None:
    import gc
    import logging

    # What is loaded stays: to look through it for what can be let go of is work for nothing, before the first line.
    gc.disable()

    from tui.attached import run_terminal
    from tui.link import BusLink, Link
    from tui.read_mark import ReadMark
    from tui.widgets.graphics import METHODS, ask_terminal

    def find() -> tuple[Link, ReadMark]:
        gc.freeze()
        gc.enable()
        # Once something is painted: to read it takes a fifth of what comes before that.
        from daemon.bus.settings import BusSettings
        from daemon.config.loader import load_settings

        settings = load_settings(config, None, os.environ)
        bus = replace(BusSettings.of(settings.state, settings.bus), looks_only=look)
        bus = bus if url is None else replace(bus, url=url)
        named = "" if config is None else str(config.absolute())
        return BusLink(bus, config=named), ReadMark.of_person(f"{bus.url or bus.state_directory} {bus.instance}")

    # Nothing may be written over the screen; what goes wrong is told on it.
    logging.getLogger().addHandler(logging.NullHandler())
    typed = ask_terminal(next((method for method in METHODS if method == pictures), None))
    problem = run_terminal(find, typed)
    if problem:
        print(f"elcano: what was read of the notifications is not remembered: {problem}", file=sys.stderr)


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
