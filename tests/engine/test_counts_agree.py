"""One session with movies of every kind: the status line, `elcano status` and the terminal tell the same numbers."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from daemon.app.status_line import status_line
from daemon.engine.answers import Answers
from daemon.engine.live import Live
from daemon.engine.session_answers import SessionAnswers
from daemon.errors import FormatError
from daemon.messages.sessions import SessionsAnswer
from tests.engine.asking import ask_over_wire
from tests.engine.desk import Desk
from tests.engine.test_gates import LEAST, MOST, STAGES

pytestmark = pytest.mark.anyio
OpenDesk = Callable[..., Awaitable[Desk]]


async def test_every_place_counts_the_same(open_desk: OpenDesk) -> None:
    desk = await open_desk(stages=STAGES, gates=(MOST, LEAST), limits={"most": 950.0})
    shop = desk.shop
    shop.script.fail("divide", "broken", ValueError("no rings"))
    shop.script.fail("add", "damaged", FormatError(Path("damaged.mrc"), "ends early"))
    # "low" passes, "middle" is refused by a gate, "judged" by hand.
    await desk.finish("low", "middle", "judged", "broken", "damaged", seeds=(8, 1, 8, 8, 8))
    await desk.ask("image.reject", session="session1", images=["judged"])
    await shop.prove(shop.write_movie("waits"))

    async def no_report(_: Any) -> None:
        return None

    answers = Answers(
        shop.store,
        shop.engine,
        bus_status=dict,
        watching=list,
        passed_over=list,
        not_imported=list,
        not_watched=tuple,
        paused=desk.controls.pausing.standing,
        running=list,
    )
    status = await ask_over_wire(answers.handlers(), "status", {})
    (printed,) = status["sessions"]
    browsed = await ask_over_wire(SessionAnswers(shop.engine, report_of=no_report).handlers(), "sessions", {})
    (shown,) = msgspec.convert(browsed, SessionsAnswer).sessions
    waiting = (await Live(shop.engine).outlook()).backlog

    movies = shop.store.count_movies(shop.session_id)
    assert status_line(movies) == "3 movies done, 1 waiting, 1 failed, 1 quarantined"
    assert printed["movies"] == {"done": 3, "failed": 1, "quarantined": 1, "complete": 1}
    counts = shown.counts
    assert (counts.exposures, counts.done, counts.failed, counts.waiting) == (6, 3, 1 + 1, 1)
    assert waiting == counts.waiting
    gates = printed["gates"]
    assert (gates["passes"], gates["refused"], gates["by_gate"]) == (1, 2, {"most": 1, "by hand": 1})
    by_hand = gates["by_gate"]["by hand"]
    assert (counts.passing, counts.refused, counts.rejected) == (gates["passes"], gates["refused"] - by_hand, by_hand)
