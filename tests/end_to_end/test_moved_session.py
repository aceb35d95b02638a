"""A daemon whose session is renamed under it, killed and renamed again: it goes on, and makes nothing twice."""

import json
from pathlib import Path

import pytest

from benchmarks.rig.facility import STAGES, Facility, receive
from tests.end_to_end.subscriber import durable_by_task, read_step_events


@pytest.mark.slow
def test_a_session_is_renamed_while_it_is_processed_and_again_after_a_kill(tmp_path: Path, quick_session: Path) -> None:
    facility = Facility.build(tmp_path, sections={"output": {"link_frames": True}})
    names = sorted(path.name for path in (quick_session / "frames").iterdir() if path.suffix in {".mrc", ".tif"})
    first, late = names[:2], names[2:3]
    raw = facility.gpfs / "arriving"
    receive(quick_session, raw, first)
    with facility.running() as daemon:
        daemon.wait_until(lambda: facility.records(_name(facility)), "the first result")
        renamed = raw.rename(raw.with_name("renamed"))
        daemon.wait_until(lambda: _directory(facility) == renamed, "the new place")
        (renamed / "frames" / late[0]).hardlink_to(quick_session / "frames" / late[0])
        owed = len(first + late) * len(STAGES)
        daemon.wait_until(lambda: len(facility.records(_name(facility))) == owed, "every movie")
        daemon.kill()
    again = renamed.rename(renamed.with_name("again"))
    with facility.running() as daemon:
        daemon.wait_until(lambda: facility.answers() and _directory(facility) == again, "the next place")
        daemon.wait_until(lambda: _links(facility) == {again / "frames" / name for name in first + late}, "the links")
        tasks = durable_by_task(read_step_events(facility, completed=owed))
        assert len(tasks) == owed
        kinds = [[event.type.rpartition(".")[2] for event in told] for told in tasks.values()]
        assert all(told.count("completed") == 1 for told in kinds), "nothing was made twice"
        daemon.wait_until(lambda: "0 gap(s)" in facility.elcano("audit").out, "a clean account")
        log = daemon.log.read_text(encoding="utf-8")
        assert "session moved, it goes on at its new place" in log
        images = facility.ask_rows("SELECT count(DISTINCT image_id) AS images FROM movie WHERE image_id IS NOT NULL")
        assert images == [{"images": len(first + late)}]
        assert daemon.stop() == 0


def _name(facility: Facility) -> str:
    rows = _sessions(facility)
    return str(rows[0]["name"]) if rows else "none yet"


def _directory(facility: Facility) -> Path | None:
    rows = _sessions(facility)
    return Path(str(rows[0]["raw_directory"])) if rows else None


def _sessions(facility: Facility) -> list[dict[str, object]]:
    if not facility.answers():
        return []
    found: list[dict[str, object]] = json.loads(facility.elcano("status", "--json").out)["sessions"]
    return found


def _links(facility: Facility) -> set[Path]:
    return {link.readlink() for link in facility.home.glob("*/frames/*")}
