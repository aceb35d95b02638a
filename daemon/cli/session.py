"""`elcano import`: a session that a running daemon is to take up."""

import os
from pathlib import Path
from typing import Annotated

import typer

from daemon.cli.options import ConfigOption, JsonOption, answer_of, fail_usage, read_settings_to_ask


def import_session(
    session_dir: Annotated[Path, typer.Argument(metavar="SESSION_DIR", help="Raw directory of the session.")],
    name: Annotated[
        str | None,
        typer.Option(
            "--name", help="Name of the session. Unset: as session.json says, else as the directory is called."
        ),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give the running daemon a session directory.

    Its movies are processed as they come. Asked again for a session that it has, the daemon takes over what has
    changed in session.json or in its [[session]] entry, and what failed for want of it runs again.

    Example: elcano import /gpfs/24dec03a
    """
    import json

    from daemon.sessions.mount_proof import mark_of_session

    settings = read_settings_to_ask(config)
    directory = session_dir.absolute()
    if not directory.is_dir():
        fail_usage(f"{directory} is not a directory. Name the raw directory of a session.")
    asked = {"directory": str(directory), "name": name, "mark": mark_of_session(directory)}
    data = answer_of(settings, "session.import", asked, timeout_s=120.0)
    if as_json:
        print(json.dumps(data))
        return
    print(f"imported {data['session']}; results go to {data['home']}")
    if not _may_hold_movies(directory):
        print("There is no movie in it yet; movies are taken up as they come.")
    if data["unknown"]:
        listed = ", ".join(data["unknown"])
        print(
            f"Nobody has said: {listed}. What the movies' own headers do not say either is missing: "
            "name it under acquisition in session.json or in a [[session]] entry, and import again."
        )


def _may_hold_movies(directory: Path) -> bool:
    """Whether a movie lies in a session's directory, or may behind a link; the first one ends the search."""
    from daemon.sessions.audit import is_movie_name

    for folder, folders, names in os.walk(directory):
        inside = Path(folder).relative_to(directory)
        if any(is_movie_name(inside / name) for name in names):
            return True
        if any(Path(folder, name).is_symlink() for name in folders):
            return True
    return False
