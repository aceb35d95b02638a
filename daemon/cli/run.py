"""`elcano run`: the daemon itself."""

from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.options import ConfigOption, read_settings

if TYPE_CHECKING:
    from daemon.app.daemon import Daemon


def run(
    config: ConfigOption = None,
    once: Annotated[bool, typer.Option("--once", help="Process what is there and exit; 1 if anything failed.")] = False,
) -> None:
    """Watch the configured roots and process every movie, until stopped.

    With --once: exit 0 when nothing is pending and nothing failed, else 1.

    Example: elcano run --once --config config.toml
    """
    import anyio

    from daemon.app.daemon import Daemon
    from daemon.cli.logs import set_up_logs
    from daemon.engine.outcome import summarise

    settings = read_settings(config, with_stages=True)
    set_up_logs(settings.log.level, settings.log.format)
    daemon = Daemon(settings, once=once)
    try:
        anyio.run(_serve, daemon)
        if once:
            outcome = summarise(daemon.store, daemon.reception.refused_sessions)
            print(outcome.text)
            raise typer.Exit(0 if outcome.is_good else 1)
    finally:
        daemon.close()


async def _serve(daemon: "Daemon") -> None:
    """Run until done, or until asked to stop by a signal."""
    import signal

    import anyio
    import structlog

    async with anyio.create_task_group() as group:

        async def stop_on_signal() -> None:
            with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
                async for number in signals:
                    structlog.get_logger(__name__).info("stopping", signal=signal.Signals(number).name)
                    group.cancel_scope.cancel()
                    return

        group.start_soon(stop_on_signal)
        await daemon.run()
        group.cancel_scope.cancel()
