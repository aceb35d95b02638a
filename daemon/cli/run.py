"""`elcano run`: the daemon itself."""

import os
from typing import Annotated

import typer

from daemon.cli.options import ConfigOption, read_settings


def run(
    config: ConfigOption = None,
    once: Annotated[bool, typer.Option("--once", help="Process what is there and exit; 1 if anything failed.")] = False,
) -> None:
    """Watch for movies and process every one, until stopped.

    SIGTERM and Ctrl-C stop it, SIGHUP lets it read config.toml again. With --once: exit 0 when nothing is pending
    and nothing failed or was quarantined, else 1; also 1 when a session was refused, a folder with movies was passed
    over for want of a session.json, or a folder cannot be watched.

    Example: elcano run --once --config config.toml
    """
    import structlog

    from daemon.app.ownership import own_places
    from daemon.cli.logs import set_up_logs

    # What is wrong is told at once: what computes takes many seconds to load on a busy machine.
    settings = read_settings(config, with_stages=True)
    set_up_logs(settings.log.level, settings.log.format)
    owner = own_places(settings)
    structlog.get_logger(__name__).info("starting", pid=os.getpid(), state=str(settings.state))

    import anyio

    from daemon.app.daemon import Daemon
    from daemon.app.service import Service
    from daemon.app.service_manager import ServiceManager
    from daemon.engine.outcome import summarise

    daemon = Daemon(settings, once=once, owner=owner)
    try:
        anyio.run(Service(daemon, ServiceManager.of(os.environ)).run)
        if once:
            reception = daemon.reception
            passed_over = reception.passed_over_folders()
            outcome = summarise(daemon.store, reception.refused_sessions, passed_over, reception.watch_problems)
            print(outcome.text)
            raise typer.Exit(0 if outcome.is_good else 1)
    finally:
        daemon.close()
