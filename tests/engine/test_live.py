"""What is told of how the daemon keeps up, and of figures that gates judge, by a whole engine on small stages."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from daemon.config.gates import bounds_broken
from daemon.engine.beat import NodeBeat
from daemon.engine.controls import Controls
from daemon.engine.curation import Curation
from daemon.engine.disks import DiskPlace, Disks
from daemon.engine.live import Live
from daemon.engine.pace import READING, WRITING
from daemon.errors import CommandRefused
from daemon.messages.curation import STANDINGS, CurationAnswer
from daemon.messages.live import LiveAnswer
from daemon.pipeline.gate import GATES as PIPELINE_GATES
from daemon.pipeline.gate import Gate
from daemon.store.pace import measure_waits
from tests.engine.asking import ask_over_wire
from tests.engine.workshop import START_S, Workshop

pytestmark = pytest.mark.anyio


def _level(metrics: Any) -> float | None:
    value: float | None = metrics.get("total")
    return value


GATES = (
    Gate("level_least", "add", _level, "level", " counts", False, None),
    Gate("level_most", "add", _level, "level", " counts", True, 1e9),
)


@dataclass
class Asking:
    shop: Workshop

    def __post_init__(self) -> None:
        engine = self.shop.engine
        self.live = Live(engine, clock_s=self.shop.clock)
        self.handlers = {**self.live.handlers(), **Curation(engine).handlers(), **Controls(engine).handlers()}

    async def ask(self, name: str, **arguments: Any) -> Any:
        """Ask, and bring the answer over the wire."""
        return await ask_over_wire(self.handlers, name, arguments)

    async def figures(self) -> CurationAnswer:
        return msgspec.convert(await self.ask("curation", session="session1"), CurationAnswer)

    async def how(self) -> LiveAnswer:
        self.shop.clock.now_s += 10.0  # an answer is kept for a moment
        return msgspec.convert(await self.ask("live"), LiveAnswer)


@pytest.fixture
async def asking(build: Callable[..., Workshop]) -> Asking:
    shop = build(gates=GATES)
    await shop.open_session()
    return Asking(shop)


async def test_movies_are_counted_as_they_come_and_go(asking: Asking) -> None:
    shop = asking.shop
    told = await asking.how()
    assert (sum(told.seen), told.outlook.backlog, told.outlook.is_behind) == (0, 0, False)
    movies = [shop.write_movie(name) for name in ("x", "y", "z")]
    await shop.prove(*movies)
    told = await asking.how()
    assert (sum(told.seen), sum(told.processed), told.outlook.backlog) == (3, 0, 3)
    assert len(told.seen) == 60
    await shop.process()
    told = await asking.how()
    assert (sum(told.processed), told.outlook.backlog) == (3, 0)
    steps = {step.name: step for step in told.steps}
    assert list(steps) == [READING, "add", "divide", "mark", "draw", WRITING]
    assert steps["add"].count == 3
    assert steps["add"].seconds_per_movie is not None
    assert told.outlook.capacity_per_hour is not None
    assert told.outlook.bottleneck in steps
    assert asking.live.compute_busy_s() > 0


async def test_what_failed_is_not_told_as_processed(asking: Asking) -> None:
    shop = asking.shop
    shop.script.fail("divide", "bad", ValueError("no rings"))
    await shop.prove(*[shop.write_movie(name) for name in ("x", "bad")])
    await shop.process()
    told = await asking.how()
    assert (sum(told.processed), sum(told.failed)) == (1, 1)


async def test_arrivals_are_of_the_time_that_was_watched(asking: Asking) -> None:
    shop = asking.shop
    lay_there = [shop.write_movie(name) for name in ("a", "b", "c")]
    for path in lay_there:
        os.utime(path, (START_S - 7200, START_S - 7200))
    shop.clock.now_s += 110.0
    comes = [shop.write_movie(name) for name in ("x", "y")]
    for path in comes:
        os.utime(path, (START_S + 60, START_S + 60))
    await shop.prove(*lay_there, *comes)
    outlook = (await asking.how()).outlook
    assert outlook.backlog == 5
    assert outlook.arriving_per_hour == pytest.approx(2 * 3600 / 120)
    shop.clock.now_s += 3600.0
    assert (await asking.how()).outlook.arriving_per_hour == 0


async def test_a_session_that_has_just_begun_is_not_spread_over_the_time_before(asking: Asking) -> None:
    """A daemon that has run for an hour; then movies come every ten seconds, and each is processed at once."""
    shop = asking.shop
    shop.clock.now_s += 3600.0
    for number in range(13):
        path = shop.write_movie(f"m{number}")
        os.utime(path, (shop.clock.now_s, shop.clock.now_s))
        await shop.prove(path)
        await shop.process()
        shop.clock.now_s += 10.0 if number < 12 else 0.0
    outlook = (await asking.how()).outlook  # ten seconds later
    assert outlook.arriving_per_hour == pytest.approx(3600 * 12 / 130)
    assert outlook.processed_per_hour == pytest.approx(3600 * 13 / 130)
    shop.clock.now_s += 590.0
    assert (await asking.how()).outlook.arriving_per_hour == pytest.approx(3600 * 12 / 730), "they come no more"


async def test_one_answer_serves_many_terminals(asking: Asking) -> None:
    first = await asking.ask("live")
    await asking.shop.prove(asking.shop.write_movie("x"))
    assert await asking.ask("live") == first
    asking.shop.clock.now_s += 3.0
    assert sum((await asking.ask("live"))["seen"]) == 1


async def test_latency_is_told_by_window(asking: Asking) -> None:
    shop = asking.shop
    await shop.prove(shop.write_movie("x"), shop.write_movie("y"))
    shop.clock.now_s += 40.0
    await shop.process()
    now_s = shop.clock.now_s
    recent, older, later = await measure_waits(shop.store, "add", (now_s - 900, now_s - 3600, now_s + 1))
    assert recent.count == older.count == 2
    assert recent.quantiles_s == older.quantiles_s
    assert later.count == 0
    assert later.quantiles_s == (None, None, None)


async def test_a_pause_of_the_node_is_named(asking: Asking) -> None:
    await asking.shop.prove(*(asking.shop.write_movie(f"m{number}") for number in range(7)))
    await asking.ask("node.pause", why="new disk")
    outlook = (await asking.how()).outlook
    assert outlook.is_behind
    assert (outlook.kind, outlook.bottleneck) == ("pause", "the node is paused by ada (operator)")


async def test_a_heartbeat_tells_disks_and_outlook(asking: Asking) -> None:
    shop, engine = asking.shop, asking.shop.engine
    disks = Disks([DiskPlace("home", shop.folder)])
    beats = NodeBeat(shop.store, engine.graph, shop.scheduler, "main", engine.compute, disks=disks, live=asking.live)
    await shop.prove(shop.write_movie("x"))
    await shop.process()
    node = (await beats.look()).node
    assert [disk.path for disk in node.disks] == [str(shop.folder)]
    assert node.disks[0].free_bytes
    assert node.outlook is not None
    assert node.devices[0].utilisation_percent is not None
    assert 0 <= node.devices[0].utilisation_percent <= 100


async def test_a_gate_is_told_with_the_bounds_of_its_limit(build: Callable[..., Workshop]) -> None:
    shop = build(gates=PIPELINE_GATES)
    await shop.open_session()
    told = {gate.name: gate for gate in (await Asking(shop).figures()).gates}
    assert told.keys() == {gate.name for gate in PIPELINE_GATES}
    for name, gate in told.items():
        assert gate.least is not None
        assert gate.most is not None
        assert not bounds_broken(name, gate.least)
        assert not bounds_broken(name, gate.most)
        assert bounds_broken(name, gate.least - 1)
        assert bounds_broken(name, gate.most + 1)


async def test_figures_are_told_with_gates_and_who_moved_them(asking: Asking) -> None:
    shop = asking.shop
    done, waits = shop.write_movie("x"), shop.write_movie("y")
    await shop.prove(done)
    await shop.process()
    await shop.prove(waits)
    told = await asking.figures()
    level = [info.key for info in told.measures].index("add: level")
    assert [gate.measure for gate in told.gates] == ["add: level", "add: level"]
    by_name = {image.name: image for image in told.images}
    stage = told.stages.index("add")
    assert STANDINGS[by_name["x"].standings[stage]] == "done"
    assert by_name["x"].values[level] is not None
    assert STANDINGS[by_name["y"].standings[stage]] == "waiting"
    assert by_name["y"].values[level] is None
    assert told.moves == []
    for limit, why in ((100.0, "too dark"), (2.0, "")):
        await asking.ask("session.thresholds", session="session1", limits={"level_least": limit}, why=why)
    told = await asking.figures()
    assert {gate.name: (gate.limit, gate.configured) for gate in told.gates} == {
        "level_least": (2.0, None),
        "level_most": (1e9, 1e9),
    }
    assert [(move.limits, move.asked_by, move.why) for move in told.moves] == [
        ({"level_least": 2.0}, "ada (operator)", ""),
        ({"level_least": 100.0}, "ada (operator)", "too dark"),
    ]


async def test_the_query_tells_what_the_command_would_do(asking: Asking) -> None:
    shop = asking.shop
    await shop.prove(shop.write_movie("x"), shop.write_movie("y"))
    await shop.process()
    moved = {"level_least": 1e6}
    asked = await asking.ask("gates", session="session1", limits=moved)
    assert (asked["passes"], asked["refused"]) == (0, 2)
    assert (await asking.ask("gates", session="session1"))["passes"] == 2, "asking moves nothing"
    done = await asking.ask("session.thresholds", session="session1", limits=moved, token=asked["token"])
    assert (done["passes"], done["refused"]) == (0, 2)
    back = await asking.ask("gates", session="session1", reset=True)
    assert back["passes"] == 2
    with pytest.raises(CommandRefused, match="no gate 'colour'"):
        await asking.ask("gates", session="session1", limits={"colour": 1.0})
