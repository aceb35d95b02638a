"""The state folder is gone, database and all: what was made is taken over, and what people said of it holds."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from benchmarks.rig.facility import Facility, check_completed, receive

_SAID = (
    "SELECT name, mark.passes, asked_by, why, marked_at, verdict.gate FROM mark JOIN image USING (image_id) "
    "JOIN verdict USING (image_id) ORDER BY name"
)


@pytest.mark.slow
def test_a_night_of_judging_by_hand_outlives_the_database(tmp_path: Path, quick_session: Path) -> None:
    facility = Facility.build(tmp_path)
    movies = sorted(path.name for path in (quick_session / "frames").iterdir())[:2]
    receive(quick_session, facility.gpfs / "night", movies)
    assert facility.run_once().code == 0
    names = [str(row["name"]) for row in facility.rows("SELECT name FROM micrographs ORDER BY name")]
    with facility.running() as daemon:
        daemon.wait_until(facility.answers, "it answers")
        facility.ask("image.reject", {"session": "night", "images": names, "why": "crack in the ice"})
        facility.ask("image.accept", {"session": "night", "images": names[:1], "why": "only its corner"})
        daemon.kill()
    said = _said(facility)
    assert [(row["name"], row["passes"], row["why"], row["gate"]) for row in said] == [
        (names[0], True, "only its corner", "by hand"),
        (names[1], False, "crack in the ice", "by hand"),
    ]

    shutil.rmtree(facility.state)
    last = facility.run_once()

    assert last.code == 0, last.err
    assert _said(facility) == said
    check_completed(facility, movies=2)
    assert facility.rows("SELECT count(*) AS n FROM attempt")[0]["n"] == 0, "everything was found complete on disk"
    assert facility.elcano("audit", "--deep").code == 0


def _said(facility: Facility) -> list[dict[str, Any]]:
    return facility.rows(_SAID)
