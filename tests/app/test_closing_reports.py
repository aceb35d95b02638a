"""The report that a session gets when it closes."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from daemon.app.closing_reports import ClosingReports
from daemon.domain.states import TaskState
from daemon.store.changes import EndTask, PutBackTasks, ReopenSession
from daemon.store.store import Store
from tests.reports.conftest import gather_of
from tests.reports.night import BEGIN_S, LIMITS, METRICS, Night
from tests.reports.reading import Page

pytestmark = pytest.mark.anyio

CLOSED_S = BEGIN_S + 5000


@pytest.fixture
def night(tmp_path: Path) -> Iterator[Night]:
    with Store.open(tmp_path / "elcano.duckdb", metrics=METRICS, clock=lambda: BEGIN_S) as store:
        yield Night(store, tmp_path / "home" / "24nov21a", 12)


def reports_of(night: Night, now_s: float = CLOSED_S + 60) -> ClosingReports:
    return ClosingReports(night.store, lambda _: LIMITS, umask=0o027, group=None, clock_s=lambda: now_s)


def path_of(night: Night) -> Path:
    return night.home / "reports" / "24nov21a.html"


async def test_it_is_written_once_the_session_is_closed(night: Night) -> None:
    night.fill()
    reports = reports_of(night)
    await reports.write_missing()
    assert not path_of(night).exists(), "it is open"
    night.close(CLOSED_S)
    await reports.write_missing()
    page = Page(path_of(night).read_text(encoding="utf-8"))
    assert page.all("span", class_="state")[0].text == "closed"
    assert path_of(night).stat().st_mode & 0o777 == 0o640
    path_of(night).unlink()
    await reports.write_missing()
    assert not path_of(night).exists(), "once is enough"


async def test_one_that_was_reopened_gets_another_one(night: Night) -> None:
    night.fill()
    night.close(CLOSED_S)
    reports = reports_of(night)
    await reports.write_missing()
    night.store.commit_now(ReopenSession("s1", cause="late file", at_s=CLOSED_S + 10))
    await reports.write_missing()
    path_of(night).unlink()
    night.close(CLOSED_S + 20)
    await reports.write_missing()
    assert path_of(night).exists()


@pytest.mark.parametrize("is_restarted", [False, True])
async def test_what_is_taken_up_again_in_a_closed_session_renews_it_once_it_has_ended(
    night: Night, is_restarted: bool
) -> None:
    night.fill()
    night.close(CLOSED_S)
    long_after_s = CLOSED_S + 3 * 86_400
    reports = reports_of(night)
    await reports.write_missing()
    path_of(night).write_text("of the closing", encoding="utf-8")
    os.utime(path_of(night), (CLOSED_S + 10, CLOSED_S + 10))
    reports = reports_of(night, long_after_s + 60)
    if not is_restarted:
        await reports.write_missing()
    task_id = "t-i-s1-3-fft"
    night.store.commit_now(PutBackTasks((task_id,), "again", "maria", cause="reprocess", at_s=long_after_s))
    await reports.write_missing()
    assert path_of(night).read_text(encoding="utf-8") == "of the closing", "it is not at rest"
    night.store.commit_now(EndTask(task_id, TaskState.CANCELLED, cause="cancel", ended_at_s=long_after_s + 5))
    await (reports_of(night, long_after_s + 60) if is_restarted else reports).write_missing()
    assert path_of(night).read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    path_of(night).unlink()
    if not is_restarted:
        await reports.write_missing()
        assert not path_of(night).exists(), "once is enough"


async def test_a_daemon_that_starts_writes_what_the_last_one_could_not(night: Night) -> None:
    night.fill()
    night.close(CLOSED_S)
    await reports_of(night, CLOSED_S + 2 * 86_400).write_missing()
    assert not path_of(night).exists(), "an old session is left as it is"
    path_of(night).parent.mkdir(parents=True)
    path_of(night).write_text("of before it closed", encoding="utf-8")
    os.utime(path_of(night), (CLOSED_S - 10, CLOSED_S - 10))
    await reports_of(night).write_missing()
    text = path_of(night).read_text(encoding="utf-8")
    assert text.startswith("<!DOCTYPE html>")
    path_of(night).write_text("newer", encoding="utf-8")
    await reports_of(night).write_missing()
    assert path_of(night).read_text(encoding="utf-8") == "newer"


async def test_one_that_fails_is_told_in_a_sentence_and_not_tried_for_ever(night: Night) -> None:
    night.fill()
    night.close(CLOSED_S)
    night.home.mkdir(parents=True, exist_ok=True)
    (night.home / "reports").write_text("in the way", encoding="utf-8")
    reports = reports_of(night)
    with structlog.testing.capture_logs() as told:
        await reports.write_missing()
        await reports.write_missing()
    (said,) = [entry for entry in told if entry["event"] == "report not written"]
    assert said["session"] == "24nov21a"
    assert "cannot be written" in said["reason"]
    assert gather_of(night.store).facts["state"] == "closed"
