"""`elcano query`: read-only SQL on everything the daemon remembers."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from daemon.cli.options import ConfigOption, answer_of, fail_usage, read_settings_to_ask
from daemon.domain.names import spell_controls

if TYPE_CHECKING:
    from daemon.config.schema import Settings

FORMATS = ("table", "json", "csv", "parquet")


def query(
    sql: Annotated[str, typer.Argument(help="One SELECT statement.")],
    style: Annotated[str, typer.Option("--format", help="table, json, csv or parquet.")] = "table",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File for the result (parquet needs one).")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Most rows to return.")] = 100_000,
    config: ConfigOption = None,
) -> None:
    """Ask the database in SQL.

    Through the running daemon; without one from its file. Tables for people: micrographs, throughput, failures.

    Example: elcano query "SELECT name, defocus_u_ang FROM micrographs ORDER BY fit_resolution_ang LIMIT 10"
    """
    if style not in FORMATS:
        fail_usage(f"--format {style} is not known. Choose {', '.join(FORMATS)}.")
    if style == "parquet" and output is None:
        fail_usage("--format parquet needs --output FILE.")
    columns, types, rows, truncated = _ask(read_settings_to_ask(config), sql, limit)
    if truncated:
        print(f"elcano: only the first {limit} rows; raise --limit for more.", file=sys.stderr)
    _write(style, output, columns, types, rows)


def _ask(settings: "Settings", sql: str, limit: int) -> tuple[list[str], list[str], list[list[Any]], bool]:
    from daemon.errors import BusUnavailable, DaemonNotRunning

    try:
        data = answer_of(settings, "sql", {"statement": sql, "limit": limit, "timeout_s": 300.0}, timeout_s=310.0)
    except (DaemonNotRunning, BusUnavailable):
        return _ask_files(settings, sql, limit)
    return data["columns"], data["types"], data["rows"], data["truncated"]


def _ask_files(settings: "Settings", sql: str, limit: int) -> tuple[list[str], list[str], list[list[Any]], bool]:
    """Ask the store's file; while a daemon that cannot be reached has it, ask its last Parquet snapshots."""
    import time

    from daemon.errors import StoreUnavailable
    from daemon.store.snapshot_query import query_snapshots
    from daemon.store.store import Store

    path = settings.store_path
    try:
        with Store.open_read_only(path) as store:
            result = store.user_query_now(sql, limit_rows=limit, timeout_s=300.0)
    except StoreUnavailable:
        if not path.exists() and not any(settings.paths.home.glob("*/tables/*.parquet")):
            raise
        result, oldest_s = query_snapshots(settings.paths.home, sql, limit_rows=limit, timeout_s=300.0)
        age_s = time.time() - oldest_s
        print(f"elcano: the daemon does not answer; tables as they were {age_s:.0f} s ago.", file=sys.stderr)
    return list(result.columns), list(result.types), [list(row) for row in result.rows], result.truncated


def _write(style: str, output: Path | None, columns: list[str], types: list[str], rows: list[list[Any]]) -> None:
    from daemon.errors import FileNotWritten, QueryRefused

    twice = next((name for name in columns if columns.count(name) > 1), None)
    if twice is not None and style in {"json", "parquet"}:
        raise QueryRefused(
            f"Column {twice!r} comes twice, {style} needs one name for each.", hint="Rename one with AS."
        )
    try:
        if style == "parquet":
            assert output is not None
            from daemon.store.snapshot_query import write_rows

            write_rows(output, columns, rows)
            return
        text = _TEXT[style](columns, types, rows)
        if output is not None:
            output.write_text(text, encoding="utf-8")
            return
    except OSError as error:
        assert output is not None
        raise FileNotWritten(output, error) from error
    print(text, end="" if text.endswith("\n") else "\n")


def _as_json(columns: list[str], types: list[str], rows: list[list[Any]]) -> str:
    import json

    del types
    return json.dumps([dict(zip(columns, row, strict=True)) for row in rows], indent=1, default=str, ensure_ascii=False)


def _as_csv(columns: list[str], types: list[str], rows: list[list[Any]]) -> str:
    import csv
    import io

    del types
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()


def _as_table(columns: list[str], types: list[str], rows: list[list[Any]]) -> str:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    numeric = {"DOUBLE", "FLOAT", "BIGINT", "INTEGER", "HUGEINT", "UBIGINT", "DECIMAL"}
    table = Table(box=None, pad_edge=False)
    for column, kind in zip(columns, types, strict=True):
        table.add_column(Text(column), justify="right" if kind.split("(")[0] in numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row))
    console = Console(width=None if sys.stdout.isatty() else 10_000)
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else spell_controls(str(value))


_TEXT = {"json": _as_json, "csv": _as_csv, "table": _as_table}
