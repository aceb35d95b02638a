"""Lines of the log: what they carry, and what they never do."""

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from structlog.contextvars import bound_contextvars

from daemon.cli.logs import set_up_logs, set_up_logs_in

NASTY = Path("/gpfs/s/a\x1b[31m\nb\u202e\udcff.tif")
SPELLED = r"/gpfs/s/a\x1b[31m\nb\u202e\xff.tif"


class Terminal(io.StringIO):
    """Standard error, as a terminal or not."""

    def __init__(self, *, is_terminal: bool) -> None:
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    for handler in root.handlers:
        if handler not in handlers:
            handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def say_it() -> None:
    log = structlog.get_logger("daemon.test")
    with bound_contextvars(session="24dec03a", path=str(NASTY), stage="ctf_estimation", task="t1"):
        log.warning("few \x1b[1mrings\x1b[0m", seen=[NASTY], counts={"a\tb": 1}, share=0.5, none=None)
    try:
        int("no \x1b[31mmore\x1b[0m")
    except ValueError:
        log.exception("unexpected")
    logging.getLogger("nats").error("a library, in Å:\n%s", "two lines")


def lines_of(monkeypatch: pytest.MonkeyPatch, style: str, *, is_terminal: bool) -> list[str]:
    stream = Terminal(is_terminal=is_terminal)
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.delenv("NO_COLOR", raising=False)
    set_up_logs("info", style)
    say_it()
    return stream.getvalue().splitlines()


@pytest.mark.parametrize(("style", "is_terminal"), [("json", True), ("json", False), ("auto", False)])
def test_json_lines_carry_session_path_stage_and_task_and_nothing_that_steers_a_terminal(
    monkeypatch: pytest.MonkeyPatch, style: str, is_terminal: bool
) -> None:
    text = lines_of(monkeypatch, style, is_terminal=is_terminal)
    assert all(line.isprintable() for line in text)
    warned, failed, library = (json.loads(line) for line in text)
    assert list(warned)[:7] == ["timestamp", "level", "event", "session", "path", "stage", "task"]
    assert (warned["session"], warned["path"], warned["task"]) == ("24dec03a", SPELLED, "t1")
    assert warned["event"] == r"few \x1b[1mrings\x1b[0m"
    assert (warned["seen"], warned["counts"], warned["share"], warned["none"]) == ([SPELLED], {r"a\tb": 1}, 0.5, None)
    assert "session" not in failed
    assert failed["exception"].startswith("Traceback (most recent call last):\n")
    assert failed["exception"].splitlines()[-1].startswith("ValueError: ")
    assert library["event"] == r"a library, in Å:\ntwo lines"


def test_text_carries_the_same_and_has_colours_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    text = lines_of(monkeypatch, "console", is_terminal=False)
    assert all(line.isprintable() for line in text), "a file, or the journal"
    assert "[warning" in text[0]
    for words in ("session=24dec03a", f"path={SPELLED}", "stage=ctf_estimation", "task=t1", r"few \x1b[1mrings"):
        assert words in text[0]
    assert text[2].startswith("Traceback")
    assert text[-1].count(r"in Å:\ntwo lines") == 1
    coloured = lines_of(monkeypatch, "auto", is_terminal=True)
    assert "\x1b[" in coloured[0]
    assert SPELLED in coloured[0]
    assert "\x1b[1mrings" not in coloured[0]


def test_a_log_file_is_json_whatever_stands_in_it(tmp_path: Path) -> None:
    set_up_logs_in(tmp_path / "elcano.log", "info")
    say_it()
    text = (tmp_path / "elcano.log").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["level"] for line in text] == ["warning", "error", "error"]
    assert all(line.isprintable() for line in text)
