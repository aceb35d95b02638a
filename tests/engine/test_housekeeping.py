"""What is done now and then, each once by hand, and that the loops do it."""

import os
from collections.abc import Callable
from pathlib import Path

import anyio
import msgspec
import pyarrow.parquet as pq
import pytest
import structlog

from daemon.bus.service import Bus
from daemon.bus.settings import BusSettings
from daemon.domain.states import SessionState
from daemon.engine.controls import Controls
from daemon.engine.housekeeping import Housekeeping
from daemon.store import outbox, sessions
from tests.bus.fakes import MemoryOutbox, node_beat
from tests.engine.workshop import Workshop

pytestmark = pytest.mark.anyio
IDLE_S = 3600.0


def bus_in(folder: Path) -> Bus:
    """A bus that nobody runs: it remembers what it is given."""
    return Bus(BusSettings(folder / "bus"), outbox=MemoryOutbox(), handlers={}, look=node_beat)


def house_of(
    shop: Workshop,
    bus: Bus,
    *,
    snapshot_interval_s: float = 0.001,
    idle_close_s: float = IDLE_S,
    end_marker: str | None = None,
) -> Housekeeping:
    """The housekeeping of a workshop, on the workshop's clock."""
    closer = Controls(shop.engine).closer
    return Housekeeping(
        shop.store, bus, snapshot_interval_s, idle_close_s, closer, clock_s=shop.clock, end_marker=end_marker
    )


@pytest.fixture
async def shop(build: Callable[..., Workshop]) -> Workshop:
    shop = build()
    await shop.open_session()
    return shop


@pytest.fixture
def house(shop: Workshop, tmp_path: Path) -> Housekeeping:
    return house_of(shop, bus_in(tmp_path))


async def state_of(shop: Workshop) -> SessionState:
    row = await sessions.session(shop.store, shop.session_id)
    assert row is not None
    return row.session.state


async def test_a_session_is_closed_when_no_file_came_for_long_and_it_is_told(
    shop: Workshop, house: Housekeeping
) -> None:
    shop.clock.now_s += IDLE_S
    await house.close_idle_sessions()
    assert await state_of(shop) is SessionState.OPEN, "it is not over before the time"
    await shop.prove(shop.write_movie("x"))
    await shop.process()
    shop.clock.now_s += IDLE_S
    await house.close_idle_sessions()
    assert await state_of(shop) is SessionState.OPEN, "time counts from the newest file"
    shop.clock.now_s += 1
    await house.close_idle_sessions()
    assert await state_of(shop) is SessionState.CLOSED
    (closed,) = [row for row in await outbox.unpublished(shop.store) if b"session.closed" in row.body]
    assert msgspec.json.decode(closed.body)["data"]["reason"] == "no new file for 60 min"
    before = shop.store.transactions
    await house.close_idle_sessions()
    assert shop.store.transactions == before, "once is enough"


async def test_events_are_forgotten_a_week_after_they_were_published(shop: Workshop, house: Housekeeping) -> None:
    await shop.prove(shop.write_movie("x"))
    waiting = await outbox.unpublished(shop.store)
    assert len(waiting) > 3
    await outbox.mark_published(shop.store, [row.seq for row in waiting[:-2]], at_s=shop.clock())

    def count() -> int:
        return int(shop.store.user_query_now("SELECT count(*) FROM event", limit_rows=1, timeout_s=10).rows[0][0])

    shop.clock.now_s += 7 * 86400 - 1
    await house.forget_published_events()
    assert count() == len(waiting)
    shop.clock.now_s += 2
    await house.forget_published_events()
    assert count() == 2, "what nobody was told yet stays"


async def test_snapshots_follow_changes(shop: Workshop, house: Housekeeping) -> None:
    table = shop.session_home / "tables" / "movie.parquet"

    async def wait_for(rows: int) -> None:
        with anyio.fail_after(60):
            while not table.exists() or pq.read_table(table).num_rows != rows:
                await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as group:
        group.start_soon(house.run)
        await wait_for(0)
        await shop.prove(shop.write_movie("x"))
        await wait_for(1)
        group.cancel_scope.cancel()


async def test_a_snapshot_that_cannot_be_written_is_said_and_stops_nothing(shop: Workshop, house: Housekeeping) -> None:
    tables = shop.session_home / "tables"
    if tables.exists():
        tables.rename(tables.with_name("kept"))
    tables.write_text("in the way")
    with structlog.testing.capture_logs() as lines:
        await house.write_snapshots()
    assert [line["event"] for line in lines] == ["snapshot not written"]
    tables.unlink()
    await house.write_snapshots()
    assert pq.read_table(tables / "movie.parquet").num_rows == 0


async def test_a_loop_closes_sessions(shop: Workshop, tmp_path: Path) -> None:
    house = house_of(shop, bus_in(tmp_path), snapshot_interval_s=3600.0, idle_close_s=0.001)
    shop.clock.now_s += 1
    async with anyio.create_task_group() as group:
        group.start_soon(house.run)
        with anyio.fail_after(60):
            while await state_of(shop) is SessionState.OPEN:
                await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()


async def test_an_end_marker_closes_a_session_once(shop: Workshop, tmp_path: Path) -> None:
    house = house_of(shop, bus_in(tmp_path), end_marker="session_end")
    await shop.prove(shop.write_movie("x"))
    await shop.process()
    marker = shop.raw / "session_end"
    marker.touch()
    await house.close_marked_sessions()
    assert await state_of(shop) is SessionState.OPEN, "the last movies may not have been seen yet"
    shop.clock.now_s += 31
    await house.close_marked_sessions()
    assert await state_of(shop) is SessionState.CLOSED

    await shop.prove(shop.write_movie("late"))
    await shop.process()
    assert await state_of(shop) is SessionState.OPEN
    shop.clock.now_s += 31
    await house.close_marked_sessions()
    assert await state_of(shop) is SessionState.OPEN, "this marker has had its effect"
    os.utime(marker, ns=(1, marker.stat().st_mtime_ns + 1))
    await house.close_marked_sessions()
    assert await state_of(shop) is SessionState.CLOSED


async def test_without_a_marker_or_its_name_a_session_stays_open(shop: Workshop, tmp_path: Path) -> None:
    shop.clock.now_s += 31
    house = house_of(shop, bus_in(tmp_path), end_marker="session_end")
    await house.close_marked_sessions()
    (shop.raw / "session_end").touch()
    await house_of(shop, bus_in(tmp_path)).close_marked_sessions()
    assert await state_of(shop) is SessionState.OPEN
