"""Row changes of one transaction, gathered by table so that each table costs one statement whatever their number."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from daemon.errors import IllegalMove
from daemon.store.connection import Connection
from daemon.store.plan import Row, RowChange, Sql, Verb

_KEYS: Mapping[str, str] = {
    "session": "session_id",
    "image": "image_id",
    "movie": "movie_id",
    "job": "job_id",
    "task": "task_id",
    "attempt": "attempt_id",
    "artifact": "artifact_id",
    "notification": "notification_id",
    "decision": "decision_id",
    "control": "control_id",
    "verdict": "image_id",
    "mark": "image_id",
}
"""Key of each table; image_id in metric tables. All are single columns: DuckDB finds composite ones by a scan."""

_NUMBERED = frozenset({"event", "history"})
"""Tables whose rows carry a rising seq."""

_FEW_ROWS: Mapping[Verb, int] = {"insert": 4, "update": 2, "upsert": 4}
"""Up to here a statement is faster than an appender, whose cost is fixed (one row: 0.6 against 1.2 ms)."""


@dataclass
class _Rows:
    """Rows of one table between two statements on it. Those of one key are coalesced, the last wins."""

    inserts: dict[str, Row] = field(default_factory=dict)
    updates: dict[str, Row] = field(default_factory=dict)
    upserts: dict[str, Row] = field(default_factory=dict)
    appends: list[Row] = field(default_factory=list)


@dataclass
class WriteSet:
    """What one transaction writes: of each table its rows and statements, in the order in which they were given."""

    next_seq: dict[str, int]
    """First free seq of the numbered tables."""
    _tables: dict[str, list[_Rows | Sql]] = field(default_factory=dict)

    def gather(self, writes: Iterable[RowChange | Sql]) -> None:
        """Take writes in their order. Raises IllegalMove when one key is inserted twice."""
        for write in writes:
            if isinstance(write, Sql):
                self._tables.setdefault(write.table, []).append(self._number(write))
            else:
                self._take_row(write, self._open_rows(write.table))

    def _number(self, statement: Sql) -> Sql:
        if not statement.numbered_rows:
            return statement
        seq = self.next_seq[statement.table]
        self.next_seq[statement.table] = seq + statement.numbered_rows
        return replace(statement, parameters=(seq, *statement.parameters))

    def _open_rows(self, table: str) -> _Rows:
        """Return the rows behind the last statement on a table."""
        steps = self._tables.setdefault(table, [])
        last = steps[-1] if steps else None
        if isinstance(last, _Rows):
            return last
        rows = _Rows()
        steps.append(rows)
        return rows

    def _take_row(self, write: RowChange, rows: _Rows) -> None:
        if write.verb == "insert" and write.table in _NUMBERED:
            seq = self.next_seq[write.table]
            self.next_seq[write.table] = seq + 1
            rows.appends.append({"seq": seq} | write.row)
        elif write.verb == "insert":
            if write.key in rows.inserts:
                raise IllegalMove(f"{write.table} {write.key}", "is inserted twice")
            rows.inserts[write.key] = dict(write.row)
        elif write.verb == "update":
            inserted = rows.inserts.get(write.key)
            (rows.updates.setdefault(write.key, {}) if inserted is None else inserted).update(write.row)
        else:
            rows.upserts[write.key] = write.row

    def write(self, connection: Connection) -> None:
        """Write everything on a connection that is in a transaction."""
        for table, steps in self._tables.items():
            for step in steps:
                if isinstance(step, Sql):
                    connection.execute(step.statement, [_make_storable(value) for value in step.parameters])
                    continue
                _write_rows(connection, table, step.inserts.values(), "insert")
                _write_rows(connection, table, step.appends, "insert")
                _write_rows(connection, table, step.updates.values(), "update")
                _write_rows(connection, table, step.upserts.values(), "upsert")


def _write_rows(connection: Connection, table: str, rows: Iterable[Row], verb: Verb) -> None:
    by_columns: dict[tuple[str, ...], list[tuple[Any, ...]]] = {}
    for row in rows:
        columns = tuple(sorted(row))
        by_columns.setdefault(columns, []).append(tuple(_make_storable(row[column]) for column in columns))
    key = _KEYS.get(table, "image_id")
    for columns, values in by_columns.items():
        if len(values) > _FEW_ROWS[verb]:
            named = [key] if verb == "update" else None
            with connection.appender(f'"{table}"', columns=list(columns), action=verb, key=named) as appender:
                appender.append_rows(values)
        elif verb == "insert":
            _insert_few(connection, table, columns, values)
        else:
            # Twice as fast as INSERT OR REPLACE: change the row, and insert it when there was none.
            missing = [row for row in values if not _update(connection, table, columns, key, row)]
            if missing and verb == "update":
                raise IllegalMove(f"{table} {missing[0][columns.index(key)]}", "has gone from its table")
            if missing:
                _insert_few(connection, table, columns, missing)


def _update(connection: Connection, table: str, columns: Sequence[str], key: str, row: tuple[Any, ...]) -> bool:
    """Change one row; return whether there is one."""
    at = columns.index(key)
    places = ", ".join(f'"{column}" = ${index + 1}' for index, column in enumerate(columns) if index != at)
    changed = connection.execute(f'UPDATE "{table}" SET {places} WHERE "{key}" = ${at + 1}', row).fetchone()
    return changed is not None and changed[0] == 1


def _insert_few(connection: Connection, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
    names = ", ".join(f'"{column}"' for column in columns)
    places = ", ".join([f"({', '.join('?' * len(columns))})"] * len(rows))
    values = [value for row in rows for value in row]
    connection.execute(f'INSERT INTO "{table}" ({names}) VALUES {places}', values)


def _make_storable(value: Any) -> Any:
    """Show bytes of file names that are not UTF-8 as `?` in texts that quote them; paths are encoded before."""
    if isinstance(value, str) and not value.isascii():
        return value.encode("utf-8", "replace").decode()
    return value
