"""Typed tables for what stages measure: made, extended and filled without a migration."""

from dataclasses import dataclass
from pathlib import Path
from typing import Optional

import numpy as np
import pytest

from daemon.errors import IllegalMove, StoreUnavailable
from daemon.store import metrics
from daemon.store.changes import PutMetrics
from daemon.store.connection import Connection
from daemon.store.metric_tables import column_types
from daemon.store.store import Store
from tests.store.records import METRICS, begin, complete_movie

pytestmark = pytest.mark.anyio


def columns(store: Store, table: str) -> dict[str, str]:
    def read(connection: Connection) -> dict[str, str]:
        return {row[0]: row[1] for row in connection.execute(f"DESCRIBE {table}").fetchall()}

    return store.read_now(read)


@dataclass(frozen=True)
class Old:
    count: int
    level: int
    given_up: str


@dataclass(frozen=True)
class New:
    count: int
    level: float
    sharp: bool | None = None
    note: Optional[str] = None  # noqa: UP045 - the older spelling is allowed too


async def test_a_table_follows_its_dataclass(tmp_path: Path) -> None:
    path = tmp_path / "elcano.duckdb"
    with Store.open(path, metrics={"fft": Old}) as store:
        await store.commit(*begin(), PutMetrics("fft", "i1", "t1", {"count": 3, "level": 2, "given_up": "x"}))
        assert columns(store, "metrics_fft") == {
            "image_id": "VARCHAR", "task_id": "VARCHAR", "count": "BIGINT", "level": "BIGINT", "given_up": "VARCHAR",
        }  # fmt: skip
    with Store.open(path, metrics={"fft": New}) as store:
        assert columns(store, "metrics_fft") == {
            "image_id": "VARCHAR", "task_id": "VARCHAR", "count": "BIGINT", "level": "DOUBLE", "given_up": "VARCHAR",
            "sharp": "BOOLEAN", "note": "VARCHAR",
        }  # fmt: skip
        assert await metrics.stage_metrics(store, "fft", "i1") == {
            "count": 3, "level": 2.0, "given_up": "x", "sharp": None, "note": None,
        }  # fmt: skip
        await store.commit(PutMetrics("fft", "i1", "t2", {"count": 4, "level": 2.5, "sharp": True}))
        assert await metrics.stage_metrics(store, "fft", "i1") == {
            "count": 4, "level": 2.5, "given_up": None, "sharp": True, "note": None,
        }  # fmt: skip
        assert await metrics.stage_metrics(store, "fft", "i2") is None
        assert await metrics.stage_metrics(store, "unheard_of", "i1") is None
    # A stage that is switched off keeps its table.
    with Store.open(path) as store:
        assert await metrics.stage_metrics(store, "fft", "i1") is not None


async def test_numpy_numbers_fit_and_nothing_is_bent_to_fit(store: Store) -> None:
    await store.commit(*begin(), *complete_movie(1))
    good = {"total_motion_ang": np.float32(1.5), "frames": np.int64(7), "confident": False, "warning": "dim"}
    await store.commit(PutMetrics("motion_correction", "i1", "t1a", good))  # type: ignore[arg-type]
    assert await metrics.stage_metrics(store, "motion_correction", "i1") == {
        "total_motion_ang": 1.5, "frames": 7, "warning": "dim", "confident": False,
    }  # fmt: skip
    for bad in ({"frames": 7.5}, {"frames": True}, {"frames": "7"}, {"warning": 3}, {"confident": 1}, {"drift": 1.0}):
        with pytest.raises(IllegalMove, match="metrics of motion_correction"):
            await store.commit(PutMetrics("motion_correction", "i1", "t1a", bad))
    with pytest.raises(IllegalMove, match="have no table"):
        await store.commit(PutMetrics("picking", "i1", "t1a", {}))


@dataclass(frozen=True)
class Text:
    count: str


def test_a_column_that_changes_its_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "elcano.duckdb"
    Store.open(path, metrics={"fft": Old}).close()
    with pytest.raises(StoreUnavailable, match=r"column count of metrics_fft holds BIGINT.*gives VARCHAR"):
        Store.open(path, metrics={"fft": Text})
    Store.open(path, metrics={"fft": Old}).close()


@dataclass(frozen=True)
class Listed:
    values: list[float]


@dataclass(frozen=True)
class Either:
    value: int | str


@dataclass(frozen=True)
class Clash:
    image_id: str


@dataclass(frozen=True)
class Shouting:
    Count: int


@pytest.mark.parametrize("kind", [Listed, Either, Clash, Shouting, int])
def test_what_no_column_can_hold_is_refused_at_once(tmp_path: Path, kind: type) -> None:
    with pytest.raises(TypeError):
        column_types(kind)
    path = tmp_path / "elcano.duckdb"
    with pytest.raises(TypeError):
        Store.open(path, metrics={"fft": kind})
    Store.open(path, metrics=METRICS).close()


def test_a_stage_name_is_an_identifier(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="cannot name a table"):
        Store.open(tmp_path / "elcano.duckdb", metrics={'fft" (x INT); --': Old})
