"""Paths of the time before a move, as they are now."""

from pathlib import Path

from daemon.domain.acquisition import Acquisition, GainReference
from daemon.domain.session import Session
from daemon.sessions.acquisition import ReferencePlaces, Source
from daemon.sessions.present_place import follow_acquisition, follow_path, follow_record

OLD, OLDER, NOW = Path("/raw/s1"), Path("/raw/s1/inner"), Path("/archive/s1")


def test_a_path_in_a_former_place_is_in_the_present_one() -> None:
    assert follow_path(OLD / "gains" / "g.mrc", [OLD], NOW) == NOW / "gains" / "g.mrc"
    assert follow_path(OLDER / "g.mrc", [OLD, OLDER], NOW) == NOW / "g.mrc", "of two the nearer one"
    for elsewhere in (Path("/raw/s10/g.mrc"), Path("/gains/g.mrc"), NOW / "g.mrc", Path("g.mrc")):
        assert follow_path(elsewhere, [OLD], NOW) == elsewhere


def test_a_session_that_was_moved_to_a_folder_above_takes_its_paths_along() -> None:
    former, now = [Path("/x/s"), Path("/y/s")], Path("/x")
    for place in former:
        assert follow_path(place / "gain.mrc", former, now) == Path("/x/gain.mrc")
    assert follow_path(Path("/x/gain.mrc"), former, now) == Path("/x/gain.mrc")
    assert follow_path(Path("/x/in/g.mrc"), [Path("/x")], Path("/x/in")) == Path("/x/in/g.mrc"), "into a folder of it"


def test_acquisitions_and_records_follow() -> None:
    taken = Acquisition(voltage_kv=300.0, gain=GainReference(OLD / "g.mrc", rotate_deg=90))
    followed = follow_acquisition(taken, [OLD], NOW)
    assert followed == Acquisition(voltage_kv=300.0, gain=GainReference(NOW / "g.mrc", rotate_deg=90))
    session = Session("s1", "s1", NOW, Path("/home/s1"), followed, former_directories=(OLD,))
    recorded = {"gain": {"path": str(OLD / "g.mrc"), "size_bytes": 5}, "voltage_kv": 300.0, "dark": None}
    now = {"gain": {"path": str(NOW / "g.mrc"), "size_bytes": 5}, "voltage_kv": 300.0, "dark": None}
    assert follow_record(recorded, session) == now


def test_a_gain_that_is_named_where_it_was_is_found_where_it_is(tmp_path: Path) -> None:
    old, now = tmp_path / "old", tmp_path / "new"
    now.mkdir()
    (now / "real.mrc").touch()
    (now / "link.mrc").symlink_to(old / "real.mrc")
    places = ReferencePlaces(now, [tmp_path], (old,))
    for named in (old / "real.mrc", Path("real.mrc"), Path("link.mrc")):
        assert places.find(named, Source.BLOCK) == now / "real.mrc"
    assert places.find(old / "real.mrc", Source.CONFIG) == now / "real.mrc"
