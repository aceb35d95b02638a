"""The process itself: what it says in the end, and that nothing keeps it."""

import subprocess
import sys
from pathlib import Path

import pytest

from daemon.__main__ import main
from daemon.errors import MUST_RESTART, ConfigurationInvalid, ElcanoError, Problem, StageHung, StoreUnavailable

STORE = StoreUnavailable(Path("/state/elcano.duckdb"), "its disk is full", hint="Make room.")


def end_with(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> int | str | None:
    def application() -> None:
        raise error

    monkeypatch.setattr("daemon.cli.app.application", application)
    with pytest.raises(SystemExit) as end:
        main()
    return end.value.code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (STORE, 1),
        (StageHung("motion_correction", "img_1", 1800), MUST_RESTART),
        (ConfigurationInvalid("config.toml", [Problem("paths", "no")]), 2),
    ],
)
def test_errors_out_of_task_groups_are_told_as_plainly_as_any(
    error: ElcanoError, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    group = BaseExceptionGroup("outer", [BaseExceptionGroup("inner", [error]), error])
    assert end_with(group, monkeypatch) == end_with(error, monkeypatch) == code
    assert capsys.readouterr().err == f"elcano: {error}\n" * 2


def test_what_nobody_foresaw_is_not_hidden_beside_what_was(monkeypatch: pytest.MonkeyPatch) -> None:
    def application() -> None:
        raise ExceptionGroup("both", [STORE, ZeroDivisionError("a fault of ours")])

    monkeypatch.setattr("daemon.cli.app.application", application)
    with pytest.raises(ExceptionGroup) as caught:
        main()
    assert caught.group_contains(ZeroDivisionError)


def test_threads_that_hang_do_not_keep_the_process() -> None:
    program = (
        "import threading, daemon.cli.app, daemon.__main__ as entry, sys\n"
        "threading.Thread(target=threading.Event().wait).start()\n"
        "daemon.cli.app.application = lambda: (print('said'), sys.exit(7))\n"
        "entry.start()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[1],
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (7, "said\n"), done.stderr
