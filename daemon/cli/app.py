"""The command line put together. Commands import what they need when they run, so that `--help` is fast."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from daemon import __version__
from daemon.cli import audit, config, control, demo, doctor, query, report, run, session, simulate, status, tui, tune

if TYPE_CHECKING:
    from pydantic import BaseModel


def _stage_parameters() -> "Mapping[str, type[BaseModel]]":
    from daemon.app.parameters import stage_parameters

    return stage_parameters()


application = typer.Typer(
    name="elcano",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Live cryo-EM processing beside the microscope: every movie seen, processed, told and remembered. "
    "Every command exits 0 (ok), 1 (found a problem) or 2 (wrong use, or a wrong configuration).\n\n"
    "Example: elcano demo shows all of it with a simulated microscope; at a real one begin with "
    "`elcano config schema --toml > config.toml`, then `elcano doctor` and `elcano run`.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"elcano {__version__}\nLicence: Apache-2.0")
        raise typer.Exit


@application.callback()
def _elcano(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print version and licence.")
    ] = False,
) -> None:
    """Take what belongs to no command."""


application.command("demo")(demo.demo)
application.command("run")(run.run)
application.command("tui")(tui.tui)
application.command("import")(session.import_session)
application.command("retry")(control.retry)
application.command("cancel")(control.cancel)
application.command("reprocess")(tune.reprocess)
application.command("complete")(control.complete)
application.command("pause")(control.pause)
application.command("resume")(control.resume)
application.command("parameters")(tune.parameters)
application.command("gates")(tune.gates)
application.command("close")(control.close)
application.command("rename")(control.rename)
application.command("status")(status.status)
application.command("audit")(audit.audit)
application.command("query")(query.query)
application.command("report")(report.report)
application.command("simulate")(simulate.simulate)
application.command("doctor")(doctor.doctor)
application.add_typer(config.build_config_commands(_stage_parameters), name="config")
