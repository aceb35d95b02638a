"""Row changes of one transaction, gathered by table so that each table costs one statement whatever their number."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
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
}
"""Key of each table; image_id in metric tables. All are single columns: DuckDB finds composite ones by a scan."""

_NUMBERED = frozenset({"event", "history"})
"""Tables whose rows carry a rising seq."""

_FEW_ROWS: Mapping[Verb, int] = {"insert": 4, "update": 2, "upsert": 4}
"""Up to here a statement is faster than an appender, whose cost is fixed (one row: 0.6 against 1.2 ms)."""


@dataclass
class WriteSet:
    """What one transaction writes. Rows of one key are coalesced, the last wins."""

    next_seq: dict[str, int]
    """First free seq of the numbered tables."""
    _inserts: dict[str, dict[str, Row]] = field(default_factory=dict)
    _updates: dict[str, dict[str, Row]] = field(default_factory=dict)
    _upserts: dict[str, dict[str, Row]] = field(default_factory=dict)
    _appends: dict[str, list[Row]] = field(default_factory=dict)
    _statements: list[Sql] = field(default_factory=list)

    def gather(self, writes: Iterable[RowChange | Sql]) -> None:
        """Take writes in their order. Raises IllegalMove when one key is inserted twice."""
        for write in writes:
            if isinstance(write, Sql):
                self._statements.append(write)
            elif write.verb == "insert":
                self._insert(write)
            elif write.verb == "update":
                inserted = self._inserts.get(write.table, {}).get(write.key)
                known = self._updates.setdefault(write.table, {}) if inserted is None else {}
                (known.setdefault(write.key, {}) if inserted is None else inserted).update(write.row)
            else:
                self._upserts.setdefault(write.table, {})[write.key] = write.row

    def _insert(self, write: RowChange) -> None:
        if write.table in _NUMBERED:
            seq = self.next_seq[write.table]
            self.next_seq[write.table] = seq + 1
            self._appends.setdefault(write.table, []).append({"seq": seq} | write.row)
            return
        rows = self._inserts.setdefault(write.table, {})
        if write.key in rows:
            raise IllegalMove(f"{write.table} {write.key}", "is inserted twice")
        rows[write.key] = dict(write.row)

    def write(self, connection: Connection) -> None:
        """Write everything on a connection that is in a transaction."""
        for table, rows in self._inserts.items():
            _write_rows(connection, table, rows.values(), "insert")
        for table, lines in self._appends.items():
            _write_rows(connection, table, lines, "insert")
        for table, rows in self._updates.items():
            _write_rows(connection, table, rows.values(), "update")
        for table, rows in self._upserts.items():
            _write_rows(connection, table, rows.values(), "upsert")
        for sql in self._statements:
            connection.execute(sql.statement, list(sql.parameters))


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
