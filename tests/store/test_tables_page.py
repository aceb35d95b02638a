"""docs/tables.md explains every column of the views and of the stages' numbers."""

import re
from pathlib import Path

import pytest

from daemon.stages import MOVIE_STAGES
from daemon.store.store import Store

PAGE = Path(__file__).parents[2] / "docs" / "tables.md"
KEYS = {"image_id", "task_id"}
"""Of the metric tables; explained once, in words."""


@pytest.fixture(scope="module")
def columns(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Columns of every table and view of a real store."""
    path = tmp_path_factory.mktemp("store") / "elcano.duckdb"
    with Store.open(path, metrics={stage.name: stage.Metrics for stage in MOVIE_STAGES}) as store:
        sql = "SELECT table_name, column_name FROM information_schema.columns"
        rows = store.user_query_now(sql, limit_rows=10_000, timeout_s=30.0).rows
    found: dict[str, set[str]] = {}
    for table, column in rows:
        found.setdefault(table, set()).add(column)
    return found


def section(table: str) -> str:
    """The part of the page whose heading names the table."""
    for part in PAGE.read_text(encoding="utf-8").split("\n## ")[1:]:
        if table in re.findall(r"\w+", part.partition("\n")[0]):
            return part
    raise AssertionError(f"docs/tables.md has no part about {table}")


def test_every_column_is_explained(columns: dict[str, set[str]]) -> None:
    explained = [table for table in columns if table.startswith("metrics_")] + ["micrographs", "failures", "throughput"]
    for table in explained:
        missing = {name for name in columns[table] if f"`{name}`" not in section(table)}
        assert missing <= (KEYS if table.startswith("metrics_") else set()), table


def test_every_explained_column_exists(columns: dict[str, set[str]]) -> None:
    for table in ("micrographs", "failures", "throughput", "metrics_motion_correction", "metrics_ctf_estimation"):
        firsts = [line.split("|")[1] for line in section(table).splitlines() if line.startswith("| `")]
        assert {name for cell in firsts for name in re.findall(r"`(\w+)`", cell)} <= columns[table]


def test_every_table_is_named(columns: dict[str, set[str]]) -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert not {table for table in columns if table not in page} - {"schema_version"}
