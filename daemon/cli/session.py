"""`elcano import | retry | close`: what a running daemon is asked to do."""

from pathlib import Path
from typing import Annotated

import typer

from daemon.cli.options import ConfigOption, JsonOption, answer_of, fail_usage, read_settings


def import_session(
    session_dir: Annotated[Path, typer.Argument(metavar="SESSION_DIR", help="Raw directory of the session.")],
    name: Annotated[str | None, typer.Option("--name", help="Name of the session; unset: session.json's own.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Import a session directory into the running daemon; its movies are processed as they come.

    Example: elcano import /gpfs/24dec03a
    """
    import json

    settings = read_settings(config)
    directory = session_dir.absolute()
    if not directory.is_dir():
        fail_usage(f"{directory} is not a directory. Name the raw directory of a session.")
    data = answer_of(settings, "session.import", {"directory": str(directory), "name": name}, timeout_s=120.0)
    print(json.dumps(data) if as_json else f"imported {data['session']}; results go to {data['home']}")


def retry(
    task_ids: Annotated[list[str] | None, typer.Argument(metavar="[TASK_ID]...", help="Tasks to run again.")] = None,
    session: Annotated[str | None, typer.Option("--session", help="All failed tasks of this session.")] = None,
    stage: Annotated[str | None, typer.Option("--stage", help="Only failed tasks of this stage.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run failed tasks again: those named, or all of a session or stage. What was skipped because of them runs too.

    Example: elcano retry --session 24dec03a --stage motion_correction
    """
    import json

    if not task_ids and session is None and stage is None:
        fail_usage("retry needs task ids, --session or --stage.")
    arguments = {"task_ids": task_ids or [], "session": session, "stage": stage}
    data = answer_of(read_settings(config), "task.retry", arguments)
    print(json.dumps(data) if as_json else f"{data['tasks']} task(s) of {data['movies']} movie(s) will run again")


def close(
    session: Annotated[str, typer.Argument(help="Name or id of the session.")],
    reason: Annotated[str, typer.Option("--reason", help="Why, for the record.")] = "",
    config: ConfigOption = None,
) -> None:
    """Tell the daemon that a session is over; a late file reopens it.

    Example: elcano close 24dec03a --reason "grid unloaded"
    """
    answer_of(read_settings(config), "session.close", {"session": session, "reason": reason})
    print(f"closed {session}")
