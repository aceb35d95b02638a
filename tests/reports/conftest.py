"""A store with a made-up session, and how its report is written."""

from collections.abc import Callable, Iterator
from datetime import UTC
from functools import partial
from pathlib import Path

import pytest

from daemon.reports.data import Moment, SessionData
from daemon.reports.page import render_page
from daemon.reports.sections import SECTIONS
from daemon.reports.writing import Source, ask_store, gather, merge_limits
from daemon.store.changes import PutBackTasks
from daemon.store.store import Store
from tests.reports.night import BEGIN_S, EVIL, LIMITS, METRICS, Night
from tests.reports.reading import Page

Gather = Callable[..., SessionData]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "elcano.duckdb", metrics=METRICS, clock=lambda: BEGIN_S) as opened:
        yield opened


@pytest.fixture
def night(store: Store, tmp_path: Path) -> Night:
    return Night(store, tmp_path / "home" / "24nov21a")


def gather_of(store: Store, session_id: str = "s1", renewed_every_s: float | None = None) -> SessionData:
    """Ask a store about a session."""
    source = Source(ask_store(store), lambda session, set_here: merge_limits(LIMITS, set_here, session))
    return gather(source, session_id, Moment(BEGIN_S + 90_000, UTC, renewed_every_s))


@pytest.fixture
def gathered(store: Store) -> Gather:
    """Ask the store of the test about a session."""
    return partial(gather_of, store)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Night]:
    """A night with everything in it, for tests that change nothing."""
    folder = tmp_path_factory.mktemp("filled")
    with Store.open(folder / "elcano.duckdb", metrics=METRICS, clock=lambda: BEGIN_S) as opened:
        night = Night(opened, folder / "home" / "24nov21a")
        night.fill()
        for number in range(night.movies):
            night.draw(number)
        night.record(59, "ctf_estimation", {"effort": "full", "lowest_defocus_ang": 3000.0, "command": ["x", EVIL]})
        task_ids = tuple(f"t-i-s1-{number}-fft" for number in (1, 2, 3))
        opened.commit_now(PutBackTasks(task_ids, "other colours", "juan", cause="reprocess", at_s=BEGIN_S + 7200))
        yield night


@pytest.fixture(scope="module")
def page(filled: Night) -> Page:
    """Its report."""
    return Page(render_page(gather_of(filled.store), SECTIONS))
