"""Parquet snapshots: one session's rows, whole files, the same bytes for the same rows."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from daemon.errors import FileNotWritten
from daemon.store.changes import PutMetrics
from daemon.store.snapshots import write_snapshots
from daemon.store.store import Store
from tests.store.records import METRICS, begin, complete_movie, put_session

pytestmark = pytest.mark.anyio


def number(count: int) -> PutMetrics:
    return PutMetrics("motion_correction", f"i{count}", f"t{count}a", {"total_motion_ang": float(count), "frames": 4})


async def test_a_session_is_written_without_the_others(store: Store, tmp_path: Path) -> None:
    await store.commit(*begin(), put_session("s2", "grid2"), *complete_movie(2), *complete_movie(1))
    await store.commit(*complete_movie(3, "s2"), number(2), number(1), number(3))
    written = await write_snapshots(store, "s1", tmp_path / "tables")
    by_name = {path.stem: pq.read_table(path) for path in written}
    assert {"movie", "task", "history", "micrographs", "throughput", "failures", "metrics_ctf_estimation"} <= set(
        by_name
    )
    assert by_name["movie"].column("movie_id").to_pylist() == ["m1", "m2"]
    assert by_name["micrographs"].column("drift_ang").to_pylist() == [1.0, 2.0]
    assert by_name["metrics_motion_correction"].column("image_id").to_pylist() == ["i1", "i2"]
    assert by_name["task"].column("task_id").to_pylist() == ["t1a", "t1b", "t2a", "t2b"]
    assert by_name["failures"].num_rows == 0
    assert str(by_name["movie"].schema.field("seen_at").type) == "timestamp[us]"
    assert sorted(path.name for path in (tmp_path / "tables").iterdir()) == sorted(path.name for path in written)


async def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    contents = []
    for turn, order in enumerate(((1, 2, 3), (3, 1, 2))):
        with Store.open(tmp_path / f"{turn}.duckdb", metrics=METRICS, clock=lambda: 1.7e9) as store:
            await store.commit(*begin())
            for count in order:
                await store.commit(*complete_movie(count), number(count))
            paths = await write_snapshots(store, "s1", tmp_path / f"tables{turn}")
            # The history alone tells in which order things came.
            contents.append({path.name: path.read_bytes() for path in paths if path.stem != "history"})
    assert contents[0] == contents[1]


async def test_a_snapshot_replaces_the_earlier_one_whole(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "tables"
    await store.commit(*begin(), *complete_movie(1))
    await write_snapshots(store, "s1", folder)
    (folder / ".movie.parquet.part").write_bytes(b"left by a killed daemon")
    with (folder / "movie.parquet").open("rb") as reader:
        await store.commit(*complete_movie(2))
        await write_snapshots(store, "s1", folder)
        assert pq.read_table(reader).num_rows == 1
    assert pq.read_table(folder / "movie.parquet").num_rows == 2
    assert not list(folder.glob(".*"))


async def test_a_folder_that_cannot_be_written_is_named(store: Store, tmp_path: Path) -> None:
    (tmp_path / "tables").write_text("a file is in the way")
    await store.commit(*begin())
    with pytest.raises(FileNotWritten, match=r"tables/.*\.parquet: cannot be written"):
        await write_snapshots(store, "s1", tmp_path / "tables")
    await store.commit(*complete_movie(1))
    (tmp_path / "tables").unlink()
    assert await write_snapshots(store, "s1", tmp_path / "tables")
