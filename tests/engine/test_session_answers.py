"""How sessions are browsed: at a glance, to the bottom, level by level; and given another title."""

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from daemon.engine.answers import Handler
from daemon.engine.file_answers import FileAnswers
from daemon.engine.session_answers import SessionAnswers, _describe_group
from daemon.errors import CommandRefused
from daemon.messages.sessions import SessionAnswer, SessionsAnswer, TreeAnswer
from daemon.store import controls, results, sessions
from daemon.store.changes import PutVerdict
from tests.engine.asking import ask_over_wire
from tests.engine.workshop import Workshop

pytestmark = pytest.mark.anyio

MANIFEST = {
    "msession": {"oid": "id-1", "name": "24dec03a", "description": "apoferritin", "project_id": "P 7"},
    "project": {"name": "Ferritin", "oid": "proj-1"},
    "images": [
        {
            "name": "24dec03a_00001gr",
            "children": [
                {
                    "name": "24dec03a_00001gr_00002sq",
                    "children": [
                        {
                            "name": "24dec03a_00001gr_00002sq_00003hl",
                            "level": 3,
                            "children": [
                                {"name": f"24dec03a_00001gr_00002sq_00003hl_{n:05d}ex", "level": 4} for n in range(5)
                            ],
                        }
                    ],
                },
                {"name": "24dec03a_00001gr_00004sq"},
            ],
        },
        {"name": "24dec03a_00009gr"},
    ],
}


class Browser:
    """A session with a tree: two exposures done, one failed, one not there yet, one that waits."""

    def __init__(self, shop: Workshop) -> None:
        self.shop = shop

        async def no_report(_: Any) -> None:
            return None

        answers = SessionAnswers(shop.engine, report_of=no_report)
        self.handlers: dict[str, Handler] = {
            **answers.handlers(),
            **FileAnswers(shop.engine, shop.home, limit_s=60).handlers(),
        }

    async def ask(self, name: str, **arguments: Any) -> Any:
        return await ask_over_wire(self.handlers, name, arguments)

    async def tree(self, parent: str | None = None, **more: Any) -> TreeAnswer:
        return msgspec.convert(await self.ask("tree", session="24dec03a", parent=parent, **more), TreeAnswer)

    async def glance(self) -> SessionsAnswer:
        return msgspec.convert(await self.ask("sessions"), SessionsAnswer)


@pytest.fixture
async def browser(build: Callable[..., Workshop]) -> Browser:
    shop = build()
    (shop.raw / "session.json").write_text(json.dumps(MANIFEST))
    await shop.open_session()
    name = "24dec03a_00001gr_00002sq_00003hl_{:05d}ex".format
    done = [shop.write_movie(name(0)), shop.write_movie(name(1))]
    failed = shop.write_movie(name(2))
    shop.script.fail("divide", name(2), ValueError("no rings"))
    await shop.prove(*done, failed)
    await shop.process()
    await shop.prove(shop.write_movie(name(3)))
    return Browser(shop)


async def test_a_session_at_a_glance(browser: Browser) -> None:
    (session,) = (await browser.glance()).sessions
    assert (session.name, session.title, session.project, session.state) == ("24dec03a", "", "Ferritin", "open")
    assert session.images == 10
    counts = session.counts
    assert (counts.exposures, counts.done, counts.failed, counts.waiting) == (4, 2, 1, 1)
    assert session.raw_directory == str(browser.shop.raw)
    assert session.job_id


async def test_the_tree_is_read_level_by_level_with_counts_of_all_below(browser: Browser) -> None:
    top = await browser.tree()
    assert [(node.name, node.children) for node in top.nodes] == [("24dec03a_00001gr", 2), ("24dec03a_00009gr", 0)]
    grid = top.nodes[0].counts
    assert (grid.exposures, grid.done, grid.failed, grid.waiting) == (4, 2, 1, 1)
    assert top.nodes[1].counts.exposures == 0
    squares = await browser.tree(top.nodes[0].image_id)
    assert [node.children for node in squares.nodes] == [1, 0]
    (hole,) = (await browser.tree(squares.nodes[0].image_id)).nodes
    assert hole.level == 3
    exposures = await browser.tree(hole.image_id)
    assert [node.state for node in exposures.nodes] == ["done", "done", "failed", "complete", ""]
    assert all(node.level == 4 for node in exposures.nodes)


async def test_refused_is_what_a_gate_refuses_wherever_it_is_counted(browser: Browser) -> None:
    hole = "24dec03a_00001gr_00002sq_00003hl"
    images = {
        image.name: image.image_id for image in await sessions.images(browser.shop.store, browser.shop.session_id)
    }
    verdicts = (
        (0, "ice_ring", "ice_ring: ice ring 3, asked for at most 2"),
        (1, "by hand", "by hand: rejected by ada (operator)"),
        (2, "divide", "divide did not succeed"),
    )
    await browser.shop.store.commit(
        *(
            PutVerdict(browser.shop.session_id, images[f"{hole}_{n:05d}ex"], False, gate, why)
            for n, gate, why in verdicts
        )
    )
    counts = (await browser.glance()).sessions[0].counts
    assert (counts.passing, counts.refused, counts.rejected) == (0, 1, 1)
    assert (await browser.tree()).nodes[0].counts == counts
    exposures = {node.name[-7:]: node for node in (await browser.tree(images[hole])).nodes}
    assert [(exposures[f"{n:05d}ex"].passes, exposures[f"{n:05d}ex"].by_hand) for n in range(3)] == [
        (False, False),
        (False, True),
        (None, False),
    ]
    told = msgspec.convert(await browser.ask("session", session="24dec03a"), SessionAnswer)
    assert (told.refusals, told.lacking) == ({"ice_ring": 1}, {"divide": 1})
    status = await results.count_verdicts(browser.shop.store, browser.shop.session_id)
    assert (status.refused - status.by_gate["by hand"], status.by_gate["by hand"]) == (counts.refused, counts.rejected)


async def test_the_tree_is_paged(browser: Browser) -> None:
    top = await browser.tree(limit=1)
    assert (top.total, len(top.nodes)) == (2, 1)
    rest = await browser.tree(limit=1, offset=1)
    assert [node.name for node in rest.nodes] == ["24dec03a_00009gr"]
    with pytest.raises(CommandRefused):
        await browser.tree(limit=100_000)


async def test_a_rewritten_movie_counts_once(browser: Browser) -> None:
    from tests.engine.workshop import identify

    path = browser.shop.frames / "24dec03a_00001gr_00002sq_00003hl_00000ex.mrc"
    before = identify(path)
    browser.shop.write_movie(path.stem, seed=9, shape_tyx=(4, 8, 10))
    await browser.shop.intake.rewritten(before, identify(path))
    counts = (await browser.tree()).nodes[0].counts
    assert (counts.exposures, counts.done, counts.waiting) == (4, 1, 2)


async def test_a_session_to_its_bottom(browser: Browser) -> None:
    answer = msgspec.convert(await browser.ask("session", session="24dec03a"), SessionAnswer)
    assert answer.manifest["session.description"] == "apoferritin"
    assert answer.manifest["project.name"] == "Ferritin"
    assert answer.stages == list(browser.shop.asked)
    assert (answer.report, answer.titled_by, answer.troubles) == ("", "", [])
    assert [group.images for group in answer.optics_groups] == [4]


async def test_a_group_is_told_with_the_pixel_size_that_is_used() -> None:
    facts = {"frame_count": 40, "pixel_size_ang": 1.0}
    assert _describe_group(facts, 1.3) == "40 frames, 1.3 Å/px"
    assert _describe_group(facts, None) == "40 frames, 1 Å/px"
    assert _describe_group({}, 1.3) == "", "of a group that nothing is known of"


async def test_a_title_is_given_recorded_and_taken_away(browser: Browser) -> None:
    before = sorted(path for path in browser.shop.home.rglob("*"))
    told = await browser.ask("session.rename", session="24dec03a", title="  Grid 3,\tgood  ice ", why="easier")
    assert told["title"] == "Grid 3, good ice"
    (session,) = (await browser.glance()).sessions
    assert (session.name, session.title) == ("24dec03a", "Grid 3, good ice")
    (row,) = [row for row in browser.shop.store.read_now(controls.read_controls) if row.kind == "title"]
    assert (row.asked_by, row.why) == ("ada (operator)", "easier")
    assert sorted(path for path in browser.shop.home.rglob("*")) == before
    answer = msgspec.convert(await browser.ask("session", session="24dec03a"), SessionAnswer)
    assert answer.titled_by == "ada (operator)"
    await browser.ask("session.rename", session="24dec03a", title="")
    assert (await browser.glance()).sessions[0].title == ""


async def test_titles_that_are_none_are_refused(browser: Browser) -> None:
    with pytest.raises(CommandRefused, match="control characters"):
        await browser.ask("session.rename", session="24dec03a", title="a\x1b[31mred")
    with pytest.raises(CommandRefused):
        await browser.ask("session.rename", session="24dec03a", title="x" * 201)
    with pytest.raises(CommandRefused, match="There is no session"):
        await browser.ask("session.rename", session="nowhere", title="x")


async def test_a_title_outlives_an_import_and_the_daemon(browser: Browser, build: Callable[..., Workshop]) -> None:
    await browser.ask("session.rename", session="24dec03a", title="Grid 3")
    await browser.shop.open_session()
    assert (await browser.glance()).sessions[0].title == "Grid 3"
    assert (await Browser(build()).glance()).sessions[0].title == "Grid 3"
