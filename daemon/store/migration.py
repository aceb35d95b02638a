"""Bringing a store file to the schema of this version, step by step, with a copy kept before."""

import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from daemon.errors import StoreUnavailable
from daemon.store.connection import Connection, DatabaseError, connect, explain_refusal

_FILE_NAME = re.compile(r"(\d{3})_(\w+)\.sql")


@dataclass(frozen=True)
class Migration:
    """One numbered step; a step that was ever released is never edited."""

    version: int
    name: str
    sql: str


def load_migrations() -> tuple[Migration, ...]:
    """Read the steps that ship with this version, in order."""
    steps = []
    for file in files("daemon.store").joinpath("migrations").iterdir():
        match = _FILE_NAME.fullmatch(file.name)
        if match:
            steps.append(Migration(int(match[1]), match[2], file.read_text(encoding="utf-8")))
    return tuple(sorted(steps, key=lambda step: step.version))


def open_migrated(path: Path, migrations: Sequence[Migration]) -> Connection:
    """Open a store for writing at the newest schema, creating it when absent. The caller owns the file's lock.

    Raises StoreUnavailable when the file is damaged, or written by a newer version.
    """
    if not path.exists():
        _create(path, migrations)
    connection = connect(path)
    try:
        version = read_version(connection, path)
        refuse_newer(path, version, migrations[-1].version)
        if version < migrations[-1].version:
            _keep_copy(connection, path, version)
            _apply(connection, [step for step in migrations if step.version > version])
    except DatabaseError as error:
        connection.close()
        raise explain_refusal(path, error) from error
    except StoreUnavailable:
        connection.close()
        raise
    return connection


def read_version(connection: Connection, path: Path) -> int:
    """Return the newest step a store has taken. Raises StoreUnavailable when it is some other DuckDB file."""
    known = connection.execute(
        "SELECT count(*) FROM duckdb_tables() WHERE table_name = 'schema_version' AND NOT internal"
    ).fetchone()
    if known is None or known[0] == 0:
        raise StoreUnavailable(path, "it is a DuckDB file, but not a store of elcano", hint="Name another file.")
    row = connection.execute("SELECT max(version) FROM schema_version").fetchone()
    if row is None or row[0] is None:
        raise StoreUnavailable(path, "its schema_version table is empty", hint="Put back a copy of it.")
    return int(row[0])


def refuse_newer(path: Path, version: int, newest: int) -> None:
    """Raise StoreUnavailable when a newer elcano has written this store."""
    if version > newest:
        raise StoreUnavailable(
            path,
            f"it has schema {version}, this version of elcano knows {newest}",
            hint=f"Update elcano, or put back the copy {path.name}.before-{newest + 1}.",
        )


def _create(path: Path, migrations: Sequence[Migration]) -> None:
    """Make a new store beside its final name, so that a crash never leaves half of one under it."""
    draft = path.with_name(f"{path.name}.new")
    for leftover in (draft, draft.with_name(f"{draft.name}.wal")):
        leftover.unlink(missing_ok=True)
    connection = connect(draft)
    connection.execute(
        "CREATE TABLE schema_version "
        "(version INTEGER PRIMARY KEY, name VARCHAR NOT NULL, applied_at TIMESTAMP NOT NULL)"
    )
    _apply(connection, migrations)
    connection.close()
    draft.replace(path)
    _sync_folder(path.parent)


def _apply(connection: Connection, steps: Sequence[Migration]) -> None:
    for step in steps:
        connection.begin()
        try:
            connection.execute(step.sql)
            connection.execute(
                "INSERT INTO schema_version VALUES (?, ?, now() AT TIME ZONE 'UTC')", [step.version, step.name]
            )
        except DatabaseError:
            connection.rollback()
            raise
        connection.commit()


def _keep_copy(connection: Connection, path: Path, version: int) -> None:
    """Keep the file as it is before its first upgrade step. Nobody writes meanwhile, and the WAL is folded in first."""
    connection.execute("CHECKPOINT")
    copy = path.with_name(f"{path.name}.before-{version + 1}")
    draft = copy.with_name(f"{copy.name}.new")
    try:
        shutil.copyfile(path, draft)
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        draft.replace(copy)
        _sync_folder(path.parent)
    except OSError as error:
        raise StoreUnavailable(
            path, f"no copy could be kept before upgrading it ({error.strerror or error})", hint="Free some disk space."
        ) from error


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
