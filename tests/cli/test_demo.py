"""What the demo says while it runs."""

from pathlib import Path

import pytest

from daemon.cli.demo import announce
from daemon.cli.demo_view import DemoView, cut_common
from daemon.cli.simulate import SizeChoice
from daemon.domain.states import TaskState
from daemon.store.store import Store


def test_it_begins_with_what_is_simulated_where_and_for_how_long() -> None:
    assert announce(6, SizeChoice.SMALL, 240.0, Path("/demo-1")) == (
        "simulating 6 movies of 24 frames, 2048×2048 px, arriving at 240 per hour, and processing them, in /demo-1: "
        "about 4 min on two cores"
    )
    assert "1 movie of 12 frames, 512×512 px, arriving as fast as they are made" in announce(
        1, SizeChoice.TINY, 0.0, Path("/demo-1")
    )
    assert "about 61 min" in announce(60, SizeChoice.TINY, 60.0, Path("/demo-1"))


def test_a_line_only_when_a_number_changes_or_after_half_a_minute(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 0.0
    counts: dict[tuple[str, str], dict[TaskState, int]] = {("s", "fft"): {TaskState.RUNNING: 1}}
    with Store.open(tmp_path / "elcano.duckdb") as store:
        monkeypatch.setattr(store, "count_tasks", lambda: counts)
        view = DemoView(store, "demo-1", 2, stages=("fft",), is_plain=True, clock_s=lambda: now_s)
        with view:
            view.update()
            assert capsys.readouterr().err.splitlines() == ["    0 s  arrived 1/2, Thon rings 0/2"]
            now_s = 10.0
            view.update()
            assert capsys.readouterr().err.splitlines() == []
            counts["s", "fft"] = {TaskState.COMPLETED: 1, TaskState.RUNNING: 1}
            view.update()
            assert capsys.readouterr().err.splitlines() == ["   10 s  arrived 2/2, Thon rings 1/2"]
            now_s = 40.0
            view.update()
            assert capsys.readouterr().err.splitlines() == ["   40 s  arrived 2/2, Thon rings 1/2"]
            now_s = 41.0
            counts["s", "fft"] = {TaskState.COMPLETED: 2}
            view.update()
            assert capsys.readouterr().err.splitlines() == ["   41 s  arrived 2/2, Thon rings 2/2"]


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (["s_01gr_01hl_01ex", "s_01gr_01hl_02ex", "s_01gr_02hl_01ex"], ["…01hl_01ex", "…01hl_02ex", "…02hl_01ex"]),
        (["s_01gr_01ex"], ["s_01gr_01ex"]),
        (["a_1", "b_1"], ["a_1", "b_1"]),
        ([], []),
    ],
)
def test_a_narrow_table_keeps_what_tells_names_apart(names: list[str], shown: list[str]) -> None:
    assert cut_common(names) == shown
