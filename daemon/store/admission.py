"""Which SQL that people write is admitted: one statement that reads, and nothing that acts.

DuckDB's own parser must see exactly one SELECT (SHOW, DESCRIBE and SUMMARIZE are SELECTs to it) or EXPLAIN,
and its syntax tree may name only table functions that compute or describe, and none of the functions that
act. What is admitted runs in daemon.store.statement_run, where it could do no harm even if this page had a hole:
parsing, too, happens there, as it can take seconds.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import duckdb

from daemon.errors import QueryRefused
from daemon.store.connection import Connection

_EXPLAIN = re.compile(r"\s*explain(?:\s+analyze)?\s+", re.IGNORECASE)

_TABLE_FUNCTIONS = frozenset(
    {
        *("range", "generate_series", "unnest", "repeat", "repeat_row", "json_each", "json_tree"),
        *("duckdb_columns", "duckdb_tables", "duckdb_views", "duckdb_types", "duckdb_functions", "duckdb_keywords"),
        *("duckdb_constraints", "duckdb_schemas", "duckdb_databases"),
        *("pragma_table_info", "pragma_database_size", "pragma_version"),
    }
)
"""Table functions that only compute or describe; every other one is refused, also those that come with an update."""

_ACTING_FUNCTIONS = frozenset(
    {
        *("nextval", "currval", "setval", "write_log", "pg_sleep", "sleep_ms", "getenv", "current_setting"),
        *("json_execute_serialized_sql", "json_deserialize_sql", "getvariable", "current_query", "setseed"),
    }
)
"""Scalar functions that do something, wait, or tell about the process rather than the session."""

_LONGEST = 10_000
"""Characters of a statement."""


@dataclass(frozen=True)
class Admitted:
    """A statement that may run."""

    text: str
    spells: frozenset[str]
    """Every name and literal in it, in lower case. Names computed at run time are not admitted, so each table that
    it can possibly read is among them."""

    @property
    def explains(self) -> bool:
        """Whether it asks for a plan instead of rows."""
        return _EXPLAIN.match(self.text) is not None


def admit(parser: Connection, sql: str) -> Admitted:
    """Return the one statement that `sql` holds; `parser` is any connection, only its parser is used.

    Raises QueryRefused when it is not a plain reading statement.
    """
    if len(sql) > _LONGEST:
        raise QueryRefused(
            f"The statement has {len(sql)} characters, {_LONGEST} are allowed.",
            hint="Write a pattern (LIKE, regexp_matches) or a range in place of a long list.",
        )
    try:
        sql.encode()
    except UnicodeEncodeError as error:
        raise QueryRefused("The statement is not valid Unicode text.") from error
    statements = parser.extract_statements(sql)
    if len(statements) != 1:
        raise QueryRefused(f"{len(statements)} statements were given.", hint="Send exactly one SELECT.")
    statement = statements[0]
    if statement.named_parameters:
        raise QueryRefused("The statement has parameters.", hint="Write the values themselves.")
    tree = parse(parser, _find_body(statement))
    for node in _walk(tree):
        if isinstance(node, dict):
            _admit_node(node)
    return Admitted(statement.query, spell(tree))


def spell(tree: Any) -> frozenset[str]:
    """Every text in a syntax tree, in lower case."""
    return frozenset(node.lower() for node in _walk(tree) if isinstance(node, str))


def _find_body(statement: duckdb.Statement) -> str:
    """Text of the SELECT that a statement is, or explains."""
    if statement.type is duckdb.StatementType.SELECT:
        return statement.query
    if statement.type is not duckdb.StatementType.EXPLAIN:
        raise QueryRefused(
            f"A {statement.type.name} statement is not allowed.",
            hint="Only SELECT, WITH, SHOW, DESCRIBE, SUMMARIZE and EXPLAIN read without changing anything.",
        )
    body, explained = _EXPLAIN.subn("", statement.query, count=1)
    if not explained:
        raise QueryRefused("EXPLAIN is given in a form that is not known here.", hint="Begin with EXPLAIN SELECT.")
    return body


def parse(parser: Connection, body: str) -> Any:
    """Syntax tree of one SELECT, as DuckDB's own parser gives it."""
    row = parser.execute("SELECT json_serialize_sql(?::VARCHAR)", [body]).fetchone()
    assert row is not None
    try:
        tree = json.loads(row[0])
    except RecursionError as error:
        raise QueryRefused("The statement is nested too deeply.", hint="Write it flatter.") from error
    if tree["error"]:
        raise QueryRefused(f"The statement cannot be checked: {tree['error_message']}", hint="Write it as a SELECT.")
    if len(tree["statements"]) != 1:
        raise QueryRefused("More than one statement was given.", hint="Send exactly one SELECT.")
    return tree


def _admit_node(node: dict[str, Any]) -> None:
    kind = str(node.get("type", ""))
    if kind.endswith("_QUERY_NODE"):
        raise QueryRefused("The statement writes inside a WITH.", hint="Only reading is allowed.")
    if kind == "TABLE_FUNCTION":
        name = str(node["function"].get("function_name", "")).lower()
        if name not in _TABLE_FUNCTIONS:
            raise QueryRefused(
                f"The table function {name or '(unnamed)'} is not allowed.", hint="Read tables and views."
            )
    elif node.get("class") == "FUNCTION" and str(node.get("function_name", "")).lower() in _ACTING_FUNCTIONS:
        raise QueryRefused(f"The function {node['function_name']} is not allowed.")


def _walk(tree: Any) -> Iterator[Any]:
    ahead = [tree]
    while ahead:
        value = ahead.pop()
        yield value
        if isinstance(value, dict):
            ahead.extend(value.values())
        elif isinstance(value, list):
            ahead.extend(value)
