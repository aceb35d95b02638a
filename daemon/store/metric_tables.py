"""One typed table for the numbers of each stage, made from the stage's own Metrics dataclass.

A new stage or a new field needs no migration: the table is created or extended when the store opens.
A field that a stage gave up keeps its column, empty in new rows.
"""

import dataclasses
import re
import types
import typing
from collections.abc import Mapping
from pathlib import Path

from daemon.errors import StoreUnavailable
from daemon.store.connection import Connection

PREFIX = "metrics_"
_SQL_TYPES: Mapping[type, str] = {int: "BIGINT", float: "DOUBLE", str: "VARCHAR", bool: "BOOLEAN"}
_IDENTIFIER = re.compile(r"[a-z][a-z0-9_]*")
_KEYS = {"image_id": "VARCHAR", "task_id": "VARCHAR"}


def table_name(stage: str) -> str:
    """Name of a stage's metric table."""
    return PREFIX + stage


def column_types(metrics: type) -> dict[str, str]:
    """SQL type of every field of a Metrics dataclass. Raises TypeError for what a column cannot hold."""
    if not dataclasses.is_dataclass(metrics):
        raise TypeError(f"{metrics.__name__} is not a dataclass")
    hints = typing.get_type_hints(metrics)
    columns = {}
    for field in dataclasses.fields(metrics):
        hint = hints[field.name]
        if typing.get_origin(hint) in {typing.Union, types.UnionType}:
            options = [option for option in typing.get_args(hint) if option is not types.NoneType]
            hint = options[0] if len(options) == 1 else hint
        if hint not in _SQL_TYPES:
            raise TypeError(f"{metrics.__name__}.{field.name} is {hint}; a metric is int, float, str or bool, or None")
        if not _IDENTIFIER.fullmatch(field.name) or field.name in _KEYS:
            raise TypeError(f"{metrics.__name__}.{field.name} cannot name a column")
        columns[field.name] = _SQL_TYPES[hint]
    return columns


def ensure_tables(connection: Connection, path: Path, metrics: Mapping[str, type]) -> None:
    """Create or extend the metric tables of these stages, in the caller's transaction.

    Raises StoreUnavailable when a column of the file has a type that its field's values do not fit.
    """
    existing = read_tables(connection)
    for stage, kind in metrics.items():
        if not _IDENTIFIER.fullmatch(stage):
            raise TypeError(f"stage {stage!r} cannot name a table")
        wanted = column_types(kind)
        name = table_name(stage)
        if stage not in existing:
            columns = ", ".join(f'"{column}" {sql_type}' for column, sql_type in wanted.items())
            connection.execute(
                f'CREATE TABLE "{name}" (image_id VARCHAR PRIMARY KEY, task_id VARCHAR NOT NULL, {columns})'
                if columns
                else f'CREATE TABLE "{name}" (image_id VARCHAR PRIMARY KEY, task_id VARCHAR NOT NULL)'
            )
            continue
        for column, sql_type in wanted.items():
            found = existing[stage].get(column)
            if found is None:
                connection.execute(f'ALTER TABLE "{name}" ADD COLUMN "{column}" {sql_type}')
            elif found == "BIGINT" and sql_type == "DOUBLE":
                connection.execute(f'ALTER TABLE "{name}" ALTER COLUMN "{column}" SET DATA TYPE DOUBLE')
            elif found != sql_type:
                raise StoreUnavailable(
                    path,
                    f"column {column} of {name} holds {found}, this version of stage {stage} gives {sql_type}",
                    hint="Give the metric a new name.",
                )


def read_tables(connection: Connection) -> dict[str, dict[str, str]]:
    """Columns with SQL types of the metric tables a store has, by stage; the key columns are left out."""
    rows = connection.execute(
        "SELECT table_name, column_name, data_type FROM duckdb_columns() "
        "WHERE NOT internal AND starts_with(table_name, ?) ORDER BY table_name, column_index",
        [PREFIX],
    ).fetchall()
    tables: dict[str, dict[str, str]] = {}
    for table, column, sql_type in rows:
        columns = tables.setdefault(table.removeprefix(PREFIX), {})
        if column not in _KEYS:
            columns[column] = sql_type
    return tables
