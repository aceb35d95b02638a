"""`elcano run`: the daemon itself."""

import os
from typing import Annotated

import typer

from daemon.cli.options import ConfigOption, read_settings


def run(
    config: ConfigOption = None,
    once: Annotated[bool, typer.Option("--once", help="Process what is there and exit; 1 if anything failed.")] = False,
) -> None:
    """Watch the configured roots and process every movie, until stopped.

    SIGTERM and Ctrl-C stop it, SIGHUP lets it read config.toml again. With --once: exit 0 when nothing is pending
    and nothing failed, else 1.

    Example: elcano run --once --config config.toml
    """
    import anyio

    from daemon.app.daemon import Daemon
    from daemon.app.service import Service
    from daemon.app.service_manager import ServiceManager
    from daemon.cli.logs import set_up_logs
    from daemon.engine.outcome import summarise

    settings = read_settings(config, with_stages=True)
    set_up_logs(settings.log.level, settings.log.format)
    daemon = Daemon(settings, once=once)
    try:
        anyio.run(Service(daemon, ServiceManager.of(os.environ)).run)
        if once:
            reception = daemon.reception
            outcome = summarise(daemon.store, reception.refused_sessions, reception.passed_over_folders())
            print(outcome.text)
            raise typer.Exit(0 if outcome.is_good else 1)
    finally:
        daemon.close()
