"""How jobs stand is told while it changes, and that one is over is told once, also by the next daemon."""

from collections.abc import Callable
from pathlib import Path

import anyio
import msgspec
import pytest

from daemon.bus.service import Bus
from daemon.domain.states import JobState
from daemon.engine.jobs import JobBulletin, view_jobs
from daemon.messages.event_data import JobSummary
from daemon.store import outbox
from daemon.store.changes import SetControl
from tests.engine.test_housekeeping import bus_in, house_of
from tests.engine.workshop import Workshop, identify

pytestmark = pytest.mark.anyio


@pytest.fixture
async def shop(build: Callable[..., Workshop]) -> Workshop:
    shop = build()
    await shop.open_session()
    return shop


@pytest.fixture
def bus(tmp_path: Path) -> Bus:
    return bus_in(tmp_path)


def bulletin_of(shop: Workshop, bus: Bus) -> JobBulletin:
    return JobBulletin(shop.store, shop.engine.graph, bus, interval_s=0.001)


def summary(bus: Bus) -> JobSummary:
    """The only job's latest summary."""
    (latest,) = bus.summaries._latest.values()
    return latest


async def close(shop: Workshop, bus: Bus) -> None:
    """Let the session be idle for so long that it is closed."""
    shop.clock.now_s += 100
    await house_of(shop, bus, idle_close_s=60.0).close_idle_sessions()


async def told(shop: Workshop) -> list[dict[str, int]]:
    """Counts of tasks in every event that says a job is over."""
    rows = await outbox.unpublished(shop.store, 1000)
    events = [msgspec.json.decode(row.body) for row in rows]
    return [event["data"]["tasks"] for event in events if event["type"] == "magellon.job.completed"]


async def test_a_summary_follows_the_tasks(shop: Workshop, bus: Bus) -> None:
    bulletin = bulletin_of(shop, bus)
    await bulletin.look()
    assert (summary(bus).session, summary(bus).state, dict(summary(bus).steps)) == ("session1", "running", {})
    await shop.prove(shop.write_movie("x"))
    await bulletin.look()
    assert summary(bus).steps["add"] == {"pending": 1}
    await shop.process()
    await bulletin.look()
    assert list(summary(bus).steps) == list(shop.engine.graph.names)
    assert summary(bus).steps["draw"] == {"completed": 1}
    latest = summary(bus)
    await bulletin.look()
    assert summary(bus) is latest, "nothing has changed"


async def test_a_summary_has_the_title_that_the_session_was_given(shop: Workshop, bus: Bus) -> None:
    bulletin = bulletin_of(shop, bus)
    await bulletin.look()
    assert summary(bus).title == ""
    await shop.store.commit(SetControl("title", shop.session_id, None, "Grid 3", "ada (operator)", "", shop.clock()))
    await bulletin.look()
    assert (summary(bus).title, summary(bus).session) == ("Grid 3", "session1")


async def test_a_summary_tells_what_was_processed_in_the_last_minutes(shop: Workshop, bus: Bus) -> None:
    bulletin = JobBulletin(shop.store, shop.engine.graph, bus, interval_s=0.001, clock_s=shop.clock)
    shop.clock.now_s += 60 - shop.clock.now_s % 60
    shop.script.fail("divide", "bad", ValueError("no rings"))
    for names in (("x",), ("y", "z", "bad"), ()):
        paths = [shop.write_movie(name) for name in names]
        await shop.prove(*paths)
        await shop.process()
        shop.clock.now_s += 60.0
    shop.clock.now_s -= 1.0
    await bulletin.look()
    assert summary(bus).processed_lately == [0] * 8 + [1, 2, 0], "one that failed is not processed"


async def test_a_job_is_over_with_its_tasks_and_its_session_and_that_is_told_once(shop: Workshop, bus: Bus) -> None:
    shop.script.fail("divide", "x", ValueError("no rings"))
    await shop.prove(shop.write_movie("x"), shop.write_movie("y"))
    await shop.process()
    bulletin = bulletin_of(shop, bus)
    await bulletin.look()
    assert await told(shop) == [], "its session is open"
    await close(shop, bus)
    await bulletin.look()
    await bulletin.look()
    assert summary(bus).state == "completed", "a failed task does not fail its job"
    (tasks,) = await told(shop)
    assert tasks["failed"] == 1
    assert sum(tasks.values()) == 2 * len(shop.engine.graph.names)

    await bulletin_of(shop, bus).look()
    assert len(await told(shop)) == 1, "the next daemon knows that it was told"


async def test_the_loop_looks_by_itself(shop: Workshop, bus: Bus) -> None:
    await shop.prove(shop.write_movie("x"))
    async with anyio.create_task_group() as group:
        group.start_soon(bulletin_of(shop, bus).run)
        await shop.process()
        await close(shop, bus)
        with anyio.fail_after(60):
            while not await told(shop):
                await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()
    assert len(await told(shop)) == 1


async def test_jobs_of_one_session_alone(shop: Workshop) -> None:
    (view,) = await view_jobs(shop.store, shop.engine.graph, shop.session_id)
    assert (view.kind, view.session, view.state) == ("import", "session1", JobState.RUNNING)
    assert await view_jobs(shop.store, shop.engine.graph, "nosuch") == []


async def test_files_that_were_left_alone_are_counted_apart(shop: Workshop, bus: Bus) -> None:
    path = shop.write_movie("x")
    gone = shop.write_movie("gone")
    await shop.prove(path)
    await shop.process()
    before = identify(path)
    shop.write_movie("x", seed=2, shape_tyx=(4, 8, 10))
    await shop.intake.rewritten(before, identify(path))
    await shop.intake.seen([identify(gone)])
    await shop.intake.vanished([identify(gone)])
    stages = shop.engine.graph.names
    (view,) = await view_jobs(shop.store, shop.engine.graph)
    assert view.steps == {stage: {"pending": 1} for stage in stages}, "one exposure, whose new file waits"
    assert view.left_alone == 2 * len(stages)
    await shop.intake.complete(identify(path), None, "whole")
    await shop.process()
    await close(shop, bus)
    await bulletin_of(shop, bus).look()
    assert await told(shop) == [{"completed": len(stages)}]


async def test_progress_is_told_when_it_changes(shop: Workshop, bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[dict[str, object]] = []
    monkeypatch.setattr(bus.signals, "offer", lambda event, key: heard.append(event.envelope.data))
    bulletin = bulletin_of(shop, bus)
    await bulletin.look()
    await shop.prove(shop.write_movie("x"))
    await bulletin.look()
    await shop.store.commit()
    await bulletin.look()
    await shop.process()
    await bulletin.look()
    assert [(told["tasks"], told["percent"]) for told in heard] == [({"pending": 4}, 0.0), ({"completed": 4}, 100.0)]
