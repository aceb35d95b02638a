"""Rows and statements of one transaction hold in the order in which they were given."""

import pytest

from daemon.store.changes import ArtifactRecord, DropResults, PutArtifacts, SetControl
from daemon.store.controls import read_controls
from daemon.store.store import Store
from tests.store.records import NOW_S, begin, complete_movie

FEW, MANY = 1, 9
"""Rows of one table that are written by a statement, and by an appender."""


def pause(number: int, why: str) -> SetControl:
    return SetControl("pause", f"s{number}", None, {}, "ada", why, NOW_S)


def resume(number: int) -> SetControl:
    return SetControl("pause", f"s{number}", None, None, "ada", "go on", NOW_S)


def standing(store: Store) -> set[tuple[str | None, str]]:
    return {(row.session_id, row.why) for row in store.read_now(read_controls)}


@pytest.mark.parametrize("count", [FEW, MANY])
def test_what_is_set_again_after_it_was_taken_away_stands(store: Store, count: int) -> None:
    numbers = range(count)
    store.commit_now(*[pause(number, "before") for number in numbers])
    store.commit_now(
        *[resume(number) for number in numbers],
        *[pause(number, "after") for number in numbers],
    )
    assert standing(store) == {(f"s{number}", "after") for number in numbers}
    store.commit_now(*[change for number in numbers for change in (pause(number, "again"), resume(number))])
    assert standing(store) == set()


@pytest.mark.parametrize("count", [FEW, MANY])
def test_files_written_again_after_results_were_dropped_are_known(store: Store, count: int) -> None:
    store.commit_now(*begin(), *complete_movie(1))
    paths = tuple(f"sums/{number}.mrc" for number in range(count))
    made, remade = (
        PutArtifacts(tuple(ArtifactRecord("s1", path, "sum", size, "", "", "motion_correction") for path in paths))
        for size in (10, 20)
    )
    store.commit_now(made)
    store.commit_now(DropResults("s1", "i1", "t1a", "motion_correction", paths), remade)
    read = "SELECT path, size_bytes FROM artifact ORDER BY path"
    assert store.read_now(lambda c: c.execute(read).fetchall()) == [(path, 20) for path in paths]
