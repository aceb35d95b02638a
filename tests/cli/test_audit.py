"""`elcano audit` without a daemon: from the store's file, with gaps, notes and exit code."""

import json
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from benchmarks.rig.facility import Facility
from daemon.domain.movie import FileIdentity
from daemon.domain.states import MovieState
from daemon.messages.subjects import Subjects
from daemon.pipeline.product import MOVIE, product_categories
from daemon.sessions.importing import ImportRequest, ImportRules, import_session
from daemon.sessions.intake import SessionIntake
from daemon.stages import MOVIE_STAGES
from daemon.store.store import Store
from tests.cli.answer import Elcano

ARCHIVED = 12


async def fill(facility: Facility) -> None:
    """A session of movies that were quarantined and removed, a movie nobody saw, and a stray file among the results."""
    raw = facility.gpfs / "night"
    with Store.open(facility.state / "elcano.duckdb") as store:
        rules = ImportRules([facility.gpfs], facility.home, 0o027, None, product_categories())
        imported = await import_session(store, Subjects(), ImportRequest(raw, stages=("fft",)), rules)
        intake = SessionIntake(
            store,
            imported.book,
            imported.folders,
            Subjects(),
            link_frames=False,
            on_complete=lambda _id, _at: None,
            on_withdrawn=lambda _: None,
            on_event=lambda: None,
        )
        files = [FileIdentity(raw / "frames" / f"m{number}.mrc", 100 + number, 5) for number in range(ARCHIVED)]
        await intake.seen(files)
        for file in files:
            await intake.quarantined(file, "broken")


def test_gaps_and_notes_are_shown_without_a_daemon_and_without_what_computes(
    facility: Facility, elcano: Elcano, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = facility.gpfs / "night"
    (raw / "frames").mkdir(parents=True)
    lost = raw / "frames" / "lost.mrc"
    lost.write_bytes(b"movie")
    anyio.run(fill, facility)
    capsys.readouterr()
    stray = facility.home / "night" / "ctf" / "stray.txt"
    stray.write_text("x", encoding="utf-8")

    answer = elcano("audit", "--json", "--config", facility.config)
    assert answer.code == 1
    (report,) = json.loads(answer.out)
    assert {(gap["kind"], gap["path"]) for gap in report["gaps"]} == {
        ("unknown_file", str(lost)),
        ("foreign_output", str(stray)),
    }
    assert len(report["notes"]) == ARCHIVED
    assert report["movies"] == {MovieState.QUARANTINED: ARCHIVED}

    script = "import sys; from daemon.__main__ import main\ntry: main()\nfinally: print('torch' in sys.modules)"
    shown = subprocess.run(
        [sys.executable, "-c", script, "audit", "--config", str(facility.config)],
        capture_output=True,
        text=True,
        check=False,
        env=facility.environment,
    )
    lines = shown.stdout.splitlines()
    assert (shown.returncode, lines[-1]) == (1, "False"), shown.stderr
    assert lines[0] == f"night: {ARCHIVED} quarantined; 2 gap(s)"
    assert f"  unknown_file: {lost}: a movie on disk that the ledger has never seen" in lines
    assert sum(line.startswith("  note: ") for line in lines) == 10
    assert f"  and {ARCHIVED - 10} more notes; --json lists them all" in lines


def test_movies_of_no_session_are_a_gap_unless_a_session_is_named(
    facility: Facility, elcano: Elcano, capsys: pytest.CaptureFixture[str]
) -> None:
    (facility.gpfs / "night" / "frames").mkdir(parents=True)
    anyio.run(fill, facility)
    capsys.readouterr()
    forgotten = facility.gpfs / "forgotten"
    forgotten.mkdir()
    (forgotten / "x.tif").touch()
    answer = elcano("audit", "--json", "--config", facility.config)
    night, of_none = json.loads(answer.out)
    assert (answer.code, night["gaps"], of_none["session"]) == (1, [], "")
    assert [(gap["kind"], gap["path"]) for gap in of_none["gaps"]] == [("passed_over", str(forgotten))]
    shown = elcano("audit", "--config", facility.config)
    assert shown.code == 1
    assert f"  passed_over: {forgotten}: its movies belong to no session" in shown.out
    assert elcano("audit", "night", "--config", facility.config).code == 0


def test_a_folder_whose_session_was_never_taken_up_is_a_gap(
    facility: Facility, elcano: Elcano, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (facility.gpfs / "night" / "frames").mkdir(parents=True)
    anyio.run(fill, facility)
    capsys.readouterr()
    for name, said in (
        ("broken", "{"),
        ("refused", '{"acquisition": {"voltage_kv": 300000}}'),
        ("waiting", "{}"),
        ("night", "{"),  # its session is known: that it cannot be renewed hides no movie
    ):
        (facility.gpfs / name).mkdir(exist_ok=True)
        (facility.gpfs / name / "x.tif").touch()
        (facility.gpfs / name / "session.json").write_text(said, encoding="utf-8")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "session.json").write_text("{}", encoding="utf-8")
    (facility.gpfs / "led_out").symlink_to(elsewhere)
    answer = elcano("audit", "--json", "--config", facility.config)
    of_none = json.loads(answer.out)[-1]
    assert (answer.code, of_none["session"]) == (1, "")
    gaps = {(gap["kind"], gap["path"].rpartition("/")[2]): gap["what"] for gap in of_none["gaps"]}
    assert gaps.keys() == {
        ("not_imported", "broken"),
        ("not_imported", "refused"),
        ("not_imported", "waiting"),
        ("not_watched", "led_out"),
    }
    assert "is not JSON" in gaps["not_imported", "broken"]
    assert "300000" in gaps["not_imported", "refused"]
    assert "no daemon has taken it up" in gaps["not_imported", "waiting"]


def test_categories_are_those_of_all_stages() -> None:
    assert set(product_categories()) == {product.category for stage in MOVIE_STAGES for product in stage.produces}
    assert MOVIE.category not in product_categories()
