"""Movies done in each minute: counted into the minute in which they ended, to the last microsecond of it."""

import pytest

from daemon.domain.states import MovieState
from daemon.store.changes import MoveMovie
from daemon.store.pace import count_done
from daemon.store.store import Store
from tests.store.records import NOW_S, begin, complete_movie, put_session

pytestmark = pytest.mark.anyio

MINUTE = int(NOW_S // 60)
NEXT_S = 60.0 * (MINUTE + 1)


async def finish(store: Store, number: int, at_s: float, session_id: str = "s1") -> None:
    await store.commit(*complete_movie(number, session_id))
    await store.commit(MoveMovie(f"m{number}", MovieState.DONE, at_s=at_s))


@pytest.mark.parametrize("early_s", [1e-6, 0.25, 0.446091, 0.5, 59.999999])
async def test_the_last_moment_of_a_minute_belongs_to_it(store: Store, early_s: float) -> None:
    await store.commit(*begin())
    await finish(store, 1, NEXT_S - early_s)
    assert await count_done(store, MINUTE, 3) == {"s1": [0, 0, 1]}
    assert await count_done(store, MINUTE + 1, 3) == {"s1": [0, 1, 0]}


async def test_what_ended_before_or_after_counts_nowhere(store: Store) -> None:
    await store.commit(*begin(), put_session("s2", "grid2"))
    for number, at_s in enumerate((NEXT_S - 120.0, NEXT_S - 120.000001, NEXT_S, NEXT_S - 60.0), start=1):
        await finish(store, number, at_s)
    await finish(store, 9, NEXT_S - 1.0, "s2")
    assert await count_done(store, MINUTE, 2) == {"s1": [1, 1], "s2": [0, 1]}
