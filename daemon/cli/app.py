"""The command line put together. Commands import what they need when they run, so that `--help` is fast."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import typer

from daemon.cli import audit, config, demo, doctor, query, run, session, simulate, status

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
    help="Live cryo-EM processing beside the microscope: every movie seen, processed, told and remembered.",
)

application.command("demo")(demo.demo)
application.command("run")(run.run)
application.command("import")(session.import_session)
application.command("retry")(session.retry)
application.command("close")(session.close)
application.command("status")(status.status)
application.command("audit")(audit.audit)
application.command("query")(query.query)
application.command("simulate")(simulate.simulate)
application.command("doctor")(doctor.doctor)
application.add_typer(config.build_config_commands(_stage_parameters), name="config")
