"""Images by stages: answers laid over each other, selections of tasks, filters and orders."""

from typing import Any

import msgspec
import pytest

from daemon.messages.panel import MatrixAnswer
from tests.tui.scenes import STAGES, matrix
from tui.core.matrix import Matrix
from tui.core.selection import Filter, filter_matrix, find_next, select_rows, sort_matrix
from tui.core.states import CANCELLED, FAILED, PENDING, RUNNING


def answer(told: dict[str, Any]) -> MatrixAnswer:
    return msgspec.convert(told, MatrixAnswer)


@pytest.fixture
def known() -> Matrix:
    made = Matrix("job-4")
    made.take(answer(matrix()))
    return made


def rows(matrix: Matrix, typed: str, sort_by: str = "", *, descending: bool = False) -> list[int]:
    keep = filter_matrix(matrix, Filter.parse(typed))
    return select_rows(len(matrix), keep=keep, sort_by=sort_matrix(matrix, sort_by), descending=descending)


def test_a_whole_answer(known: Matrix) -> None:
    assert (len(known), known.stages, known.seq) == (12, list(STAGES), 10)
    cell = known.cell(3, 0)
    assert cell is not None
    assert (cell.task_id, cell.state, cell.reason) == ("task-3-0", FAILED, "gain.mrc has another shape")
    assert known.reason(3) == "gain.mrc has another shape"
    assert known.place_of("task-5-2") == (5, 2)


def test_what_waits_to_be_whole_says_why_and_no_longer_once_it_is(known: Matrix) -> None:
    told = matrix(seq=11) | {"images": [], "not_whole": {"image-1": "0 bytes", "image-unknown": "x"}}
    assert known.take(answer(told)) == {1}
    assert known.reason(1) == "not whole yet: 0 bytes"
    assert known.has_reasons
    pending = [stage for stage in range(4) if known.columns[stage].states[1] == PENDING]
    assert pending
    assert all(known.show(1, stage).word == "not whole" for stage in pending)
    assert known.show(1, 0).word == "done", "what was done before the file changed stays done"
    assert known.take(answer(told)) == set()
    assert known.take(answer(told | {"not_whole": {}})) == {1}
    assert known.reason(1) == ""
    assert known.show(1, pending[0]).word == "waiting"


def test_what_has_moved_is_laid_over_and_nothing_is_doubled(known: Matrix) -> None:
    told = matrix(14, seq=11)
    told["images"] = [told["images"][3], told["images"][13]]
    told["images"][0][3][0] = ["task-3-0", 2, 2, ""]
    assert known.take(answer(told)) == {3, 12}
    assert (len(known), known.seq) == (13, 11)
    cell = known.cell(3, 0)
    assert cell is not None
    assert (cell.state, cell.attempts, cell.reason) == (2, 2, "")
    assert known.take(answer(matrix(14, seq=12))) == set(range(14))
    assert len(known) == 14
    assert sorted(known.names) == sorted(f"24dec03a_{number:05d}ex" for number in range(14))


def test_a_rewritten_file_has_other_tasks(known: Matrix) -> None:
    told = matrix(1)
    told["images"][0][3][0] = ["another", 0, 0, ""]
    known.take(answer(told))
    assert known.place_of("task-0-0") is None
    assert known.place_of("another") == (0, 0)


def test_a_file_that_vanished_is_not_shown_nor_counted(known: Matrix) -> None:
    before = known.counts()["fft"].total
    told = matrix(1)
    told["images"][0][2] = "vanished"
    known.take(answer(told))
    assert 0 not in rows(known, "")
    assert known.counts()["fft"].total == before - 1


def test_a_stage_that_appears_later_gets_its_column(known: Matrix) -> None:
    told = matrix(2, seq=12)
    told["stages"] = [*STAGES[:2], "denoising", *STAGES[2:]]
    for image in told["images"]:
        image[3].insert(2, [f"new of {image[0]}", 0, 0, ""])
    known.take(answer(told))
    assert known.place_of("task-5-2") == (5, 3)
    assert known.cell(5, 2) is None
    assert known.cell(1, 2) is not None


def test_progress_ends_with_the_task(known: Matrix) -> None:
    assert known.put_progress("task-0-1", 40.0) == 0
    assert known.progress == {"task-0-1": 40.0}
    assert known.put_progress("of another job", 1.0) is None
    told = matrix(1)
    told["images"][0][3][1][1] = 2
    known.take(answer(told))
    assert known.progress == {}


def test_tasks_of_a_selection(known: Matrix) -> None:
    assert known.tasks([3, 4, 9], (FAILED,)) == ["task-3-0", "task-9-0"]
    assert known.tasks([0, 1], (PENDING, RUNNING)) == ["task-0-1", "task-0-3", "task-1-2"]
    assert known.tasks([2, 3], (CANCELLED,), stages=[0]) == []


@pytest.mark.parametrize(
    ("typed", "wanted"),
    [
        ("", list(range(12))),
        ("00003 ex", [3]),
        ("GAIN", [3, 9]),
        ("motion:failed", [3, 9]),
        (":running", [0, 5, 10]),
        ("ctf:run", [0, 5, 10]),
        ("-:failed :cancel", [2, 5, 8, 11]),
        ("nothing of that", []),
        ("fft:done thumb:wait", [0, 6]),
        (":no_such_state", []),
    ],
)
def test_filters(known: Matrix, typed: str, wanted: list[int]) -> None:
    assert rows(known, typed) == wanted


def test_orders(known: Matrix) -> None:
    assert rows(known, "", "motion_correction")[:2] == [3, 9], "what failed comes first"
    assert rows(known, "", "name", descending=True)[0] == 11
    assert rows(known, "", "reason")[:2] == [3, 9]
    assert rows(known, "", "reason", descending=True)[:2] == [3, 9], "what has no reason comes last either way"


def test_search_goes_around() -> None:
    assert find_next([4, 5, 6], 1, lambda row: row == 4) == 0
    assert find_next([4, 5, 6], 0, lambda row: row == 6, backwards=True) == 2
    assert find_next([4, 5, 6], 0, lambda row: row == 4) == 0
    assert find_next([], 0, lambda _: True) is None
