"""`elcano report`: from the store's file, from snapshots, kept up to date, and what it says when it cannot."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
from rich.progress import Progress, TaskID

from benchmarks.rig.facility import Facility
from daemon.cli import report
from daemon.store.snapshots import write_snapshots
from daemon.store.store import Store
from tests.cli.answer import Elcano
from tests.reports.night import METRICS, Night
from tests.reports.reading import Page


@pytest.fixture
def night(facility: Facility) -> Night:
    """A session in the facility's store; the store itself is closed again."""
    facility.state.mkdir(parents=True, exist_ok=True)
    with Store.open(facility.state / "elcano.duckdb", metrics=METRICS) as store:
        night = Night(store, facility.home / "24nov21a", 12)
        night.fill()
        night.draw(3)
        return night


def test_it_is_written_in_the_home(facility: Facility, elcano: Elcano, night: Night) -> None:
    answer = elcano("report", "24nov21a", "--config", facility.config)
    path = facility.home / "24nov21a" / "reports" / "24nov21a.html"
    assert (answer.code, answer.out, answer.err) == (0, f"{path}\n", "")
    assert path.stat().st_mode & 0o777 == 0o640
    page = Page(path.read_text(encoding="utf-8"))
    assert page.all("title")[0].text == "24nov21a · Elcano"
    answer = elcano("report", "s1", "--json", "-o", "mine.html", "--config", facility.config)
    told = json.loads(answer.out)
    assert told == {"file": str(Path.cwd() / "mine.html"), "size_bytes": Path("mine.html").stat().st_size, "open": True}


def test_nothing_heavy_is_loaded_for_it(facility: Facility, night: Night) -> None:
    script = """
import sys
from daemon.__main__ import main
try:
    main()
finally:
    print({"torch", "matplotlib"} & set(sys.modules))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, "report", "24nov21a", "--config", str(facility.config)],
        capture_output=True,
        text=True,
        check=False,
        env=facility.environment,
    )
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "set()"), done.stderr


def test_a_session_that_is_not_known(facility: Facility, elcano: Elcano, night: Night) -> None:
    answer = elcano("report", "24nov21", "--config", facility.config)
    assert (answer.code, answer.out) == (1, "")
    assert answer.err == ("elcano: There is no session '24nov21'. Names that come near, or are the latest: 24nov21a.\n")


def test_places_that_cannot_be_written(facility: Facility, elcano: Elcano, night: Night, tmp_path: Path) -> None:
    answer = elcano("report", "24nov21a", "-o", tmp_path, "--config", facility.config)
    assert (answer.code, answer.err) == (2, f"elcano: {tmp_path} is a directory. Name the file of the report.\n")
    (tmp_path / "file").touch()
    answer = elcano("report", "24nov21a", "-o", tmp_path / "file" / "x.html", "--config", facility.config)
    assert answer.code == 1
    assert answer.err.startswith(f"elcano: {tmp_path}/file/x.html: cannot be written: ")


def test_without_a_store_the_sentence_says_so(facility: Facility, elcano: Elcano) -> None:
    answer = elcano("report", "night", "--config", facility.config)
    assert (answer.code, answer.out) == (1, "")
    assert "elcano.duckdb: there is no such file." in answer.err


def test_while_a_daemon_does_not_answer_it_is_made_from_snapshots(
    facility: Facility, elcano: Elcano, night: Night
) -> None:
    store_path = facility.state / "elcano.duckdb"
    with Store.open_read_only(store_path) as store:
        anyio.run(write_snapshots, store, "s1", night.home / "tables")
    script = f"""
import sys
from pathlib import Path
from typing import Any
from daemon.store.store import Store
with Store.open(Path({str(store_path)!r})):
    print("open", flush=True)
    sys.stdin.read()
"""
    command = [sys.executable, "-c", script]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=facility.environment, text=True
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "open\n"
        answer = elcano("report", "24nov21a", "-o", "x.html", "--config", facility.config)
        owner.communicate()
    assert answer.code == 0
    assert "the daemon does not answer; the tables are as they were" in answer.err
    page = Page(Path("x.html").read_text(encoding="utf-8"))
    assert "The daemon did not answer" in page.all("header")[0].text
    assert "11 of 12" in page.section("quality")
    assert "maria" not in page.section("quality"), "who set what is in no snapshot"
    assert {str(each.attributes["data-gate"]) for each in page.all("path", class_="gate")} >= {"ctf_resolution_ang"}


def test_a_running_daemon_is_asked_for_everything(
    facility: Facility, elcano: Elcano, night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    with Store.open_read_only(facility.state / "elcano.duckdb") as store:

        def answer(_: object, name: str, arguments: dict[str, Any], *, timeout_s: float = 30.0) -> Any:
            """As daemon.engine.answers and daemon.engine.tuning do."""
            assert timeout_s > arguments.get("timeout_s", 0)
            asked.append(name)
            if name == "queues":
                return {}
            if name == "gates":
                return {"limits": {"ctf_resolution_ang": 7.5}}
            cursor = store.read_now(lambda connection: connection.execute(arguments["statement"]))
            return {"columns": [column[0] for column in cursor.description], "rows": cursor.fetchall()}

        monkeypatch.setattr(report, "answer_of", answer)
        assert elcano("report", "24nov21a", "-o", "x.html", "--config", facility.config).code == 0
    assert asked.count("gates") == 1
    assert asked.count("sql") <= 8, "each statement costs the daemon a third of a second"
    words = [each.text for each in Page(Path("x.html").read_text(encoding="utf-8")).all("text", class_="gate-word")]
    assert words == ["gate ≤ 7.5"]


def test_it_is_kept_up_to_date_until_the_session_closes(
    facility: Facility, elcano: Elcano, night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, store_path, pages = Path("live.html"), facility.state / "elcano.duckdb", []

    def wait(pause_s: float) -> None:
        """The store is away for two looks, then the session closes."""
        assert pause_s >= 30
        pages.append(path.read_text(encoding="utf-8"))
        if len(pages) == 1:
            store_path.rename(facility.state / "away")
        elif len(pages) == 3:
            (facility.state / "away").rename(store_path)
            with Store.open(store_path) as store:
                Night(store, night.home).close()

    monkeypatch.setattr(report, "_wait", wait)
    answer = elcano("report", "24nov21a", "--live", "-o", path, "--config", facility.config)
    assert (answer.code, answer.out) == (0, f"{path.absolute()}\n")
    first, second = answer.err.splitlines()
    assert first.startswith("elcano: the report is older than it should be: ")
    assert second == "elcano: session 24nov21a is closed; this was its last report."
    assert len(pages) == 3
    assert all('http-equiv="refresh"' in page and "renewed every" in page for page in pages)
    last = Page(path.read_text(encoding="utf-8"))
    assert last.all("span", class_="state")[0].text == "closed"
    assert "refresh" not in [each.attributes.get("http-equiv") for each in last.all("meta")]


def test_ctrl_c_ends_it_as_meant(
    facility: Facility, elcano: Elcano, night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(report, "_wait", interrupt)
    answer = elcano("report", "24nov21a", "--live", "-o", "live.html", "--config", facility.config)
    assert (answer.code, answer.err) == (0, "elcano: the report is not kept up to date any more.\n")
    assert Path("live.html").is_file()


def test_a_session_that_is_closed_is_written_once(
    facility: Facility, elcano: Elcano, night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store.open(facility.state / "elcano.duckdb") as store:
        Night(store, night.home).close()
    answer = elcano("report", "24nov21a", "--live", "-o", "live.html", "--config", facility.config)
    assert (answer.code, answer.err) == (0, "elcano: session 24nov21a is closed; this was its last report.\n")


def test_a_bar_is_shown_to_people(
    facility: Facility, elcano: Elcano, night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[tuple[str, float, float | None]] = []

    def note(self: Progress, task_id: TaskID, *, completed: float, total: float, description: str) -> None:
        shown.append((description, completed, total))

    monkeypatch.setattr(Progress, "update", note)
    elcano("report", "24nov21a", "-o", "x.html", "--config", facility.config)
    assert not shown, "nobody is at a terminal"
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    elcano("report", "24nov21a", "-o", "x.html", "--config", facility.config)
    assert [description for description, _, _ in shown][:2] == ["report: session", "report: micrographs"]
    assert [(done, total) for _, done, total in shown] == [(number, 7) for number in range(7)]
