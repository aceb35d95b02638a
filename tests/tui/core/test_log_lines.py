"""Lines of the log: each once, gaps said, filters applied once to each line."""

import pytest

from daemon.messages.news import LogEntry, LogsAnswer
from tui.core.log_lines import GAP, LogLines, LogView
from tui.core.selection import Filter


def entry(seq: int, level: str = "info", message: str = "", **about: str) -> LogEntry:
    facts = {key: value for key, value in about.items() if key not in {"session", "stage", "image", "source"}}
    return LogEntry(
        seq=seq,
        at_s=1000.0 + seq,
        level=level,
        message=message or f"line {seq}",
        source=about.get("source", "task"),
        session=about.get("session", ""),
        stage=about.get("stage", ""),
        image=about.get("image", ""),
        task_id="",
        facts=facts,
    )


def answer(*seqs: int, run: str = "a", first: int = 1, last: int | None = None) -> LogsAnswer:
    return LogsAnswer(run=run, first=first, last=last or (seqs[-1] if seqs else 0), lines=[entry(seq) for seq in seqs])


def told(lines: LogLines) -> list[str]:
    return [line.message if line.level != GAP else GAP for _, line in lines.since(0)]


def test_answers_that_overlap_double_nothing() -> None:
    lines = LogLines()
    assert lines.take(answer(1, 2, 3))
    assert lines.take(answer(2, 3, 4, 5))
    assert not lines.take(answer(last=5))
    assert told(lines) == [f"line {seq}" for seq in (1, 2, 3, 4, 5)]
    assert (lines.run, lines.last) == ("a", 5)


def test_what_is_missing_between_answers_is_said() -> None:
    lines = LogLines()
    lines.take(answer(1, 2))
    lines.take(answer(7, 8, first=6))
    assert told(lines) == ["line 1", "line 2", GAP, "line 7", "line 8"]
    assert "4 lines" in lines.line(2).message


@pytest.mark.parametrize(("seqs", "first", "gaps"), [((1, 2), 1, 0), ((9, 10), 9, 0), ((9, 10), 1, 1)])
def test_a_late_comer_is_told_only_of_lines_it_could_have_had(seqs: tuple[int, ...], first: int, gaps: int) -> None:
    lines = LogLines()
    lines.take(answer(*seqs, first=first))
    assert told(lines).count(GAP) == gaps


def test_another_run_counts_anew_and_is_told() -> None:
    lines = LogLines()
    lines.take(answer(1, 2, 3))
    lines.take(answer(1, 2, run="b"))
    assert told(lines) == ["line 1", "line 2", "line 3", GAP, "line 1", "line 2"]
    assert "started again" in lines.line(3).message
    lines.take(answer(3, run="b"))
    assert told(lines)[-1] == "line 3"


def test_lines_keep_their_numbers_when_the_oldest_go() -> None:
    lines = LogLines(most=3)
    view = LogView(lines)
    lines.take(answer(1, 2, 3))
    assert list(view.numbers()) == [0, 1, 2]
    lines.take(answer(4, 5))
    assert list(view.numbers()) == [2, 3, 4]
    assert lines.line(4).message == "line 5"


@pytest.mark.parametrize(
    ("typed", "least", "shown"),
    [
        ("", "debug", [1, 2, 3, 4]),
        ("", "warning", [2, 3]),
        ("", "error", [3]),
        ("session:24dec", "debug", [2, 3]),
        ("stage:ctf", "debug", [3]),
        ("-stage:ctf gain", "debug", [2]),
        ("level:warn", "debug", [2]),
        ("-from:nats", "debug", [1, 2, 3]),
        ("directory:/gpfs", "debug", [1]),
        ("x_00003", "debug", [3]),
        ("/GPFS/24", "debug", [1]),
    ],
)
def test_what_a_filter_shows(typed: str, least: str, shown: list[int]) -> None:
    lines = LogLines()
    read = [
        entry(1, directory="/gpfs/24dec03a"),
        entry(2, "warning", "no gain", session="24dec03a", stage="motion_correction"),
        entry(3, "error", "no fit, no gain", session="24dec03a", stage="ctf_estimation", image="x_00003"),
        entry(4, "debug", "ping", source="nats.client"),
    ]
    lines.take(LogsAnswer(run="a", first=1, last=4, lines=read))
    view = LogView(lines)
    view.choose(Filter.parse(typed), least)
    assert [lines.line(number).seq for number in view.numbers()] == shown
