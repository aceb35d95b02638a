"""Which session is meant, which limits hold, and that the ways to read the tables give the same."""

from pathlib import Path

import pytest

from daemon.errors import CommandRefused
from daemon.reports.page import render_page
from daemon.reports.questions import Answer, Ask, bundle, questions, unbundle
from daemon.reports.sections import SECTIONS
from daemon.reports.writing import Source, ask_store, find_session, gather
from daemon.store.store import Store
from tests.reports.conftest import gather_of
from tests.reports.night import LIMITS, Night

_A_STATEMENT = 10_000


def ask_sandbox(store: Store) -> Ask:
    """Ask as people do."""

    def ask(sql: str) -> Answer:
        result = store.user_query_now(sql, limit_rows=100_000)
        return Answer(result.columns, result.rows)

    return ask


def test_a_session_is_found_by_name_and_id(store: Store, tmp_path: Path) -> None:
    ask = ask_store(store)
    with pytest.raises(CommandRefused, match=r"There is no session 'x'\. None has been imported yet\."):
        find_session(ask, "x")
    for number, name in enumerate(("24nov21a", "24nov22b", "other's")):
        Night(store, tmp_path / name, 1, name, f"s{number}").begin()
    assert [find_session(ask, named) for named in ("24nov22b", "s0", "other's")] == ["s1", "s0", "s2"]
    with pytest.raises(CommandRefused, match=r"There is no session '24nov21'\..*24nov21a, 24nov22b"):
        find_session(ask, "24nov21")


def test_limits_that_people_set_win(filled: Night) -> None:
    limits = gather_of(filled.store).limits
    assert limits == {**LIMITS, "ctf_resolution_ang": 6.0}


def test_people_s_way_to_ask_gives_the_same_page(filled: Night) -> None:
    data = gather_of(filled.store)
    other = gather(Source(ask_sandbox(filled.store), lambda *_: data.limits), "s1", data.moment)
    assert render_page(other, SECTIONS) == render_page(data, SECTIONS)


def test_statements_are_short_enough_for_a_daemon_with_many_stages() -> None:
    names = ["session", "image", "movie", "task", "attempt", "history", "decision", "control", "notification"]
    tables = {name: ["x"] for name in [*names, "micrographs", "failures", *(f"metrics_stage{n}" for n in range(20))]}
    large, small = questions("x" * 36, tables)
    assert len(large) == 21
    assert max(len(sql) for sql in [*large.values(), small]) < _A_STATEMENT


def test_a_name_cannot_leave_its_statement(store: Store, tmp_path: Path) -> None:
    session_id = "s'; DROP TABLE movie; --"
    Night(store, tmp_path / "home", 2, session_id=session_id).fill(())
    assert len(gather_of(store, session_id).micrographs) == 2


def test_nothing_comes_of_nothing() -> None:
    found = unbundle(Answer(("name", "content"), [("empty", None)]))
    assert (list(found), list(found["empty"])) == (["empty"], [])
    assert bundle({}) == ""
