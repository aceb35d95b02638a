"""The state folder put back from an older copy while results went on: nothing lost, nothing doubled, and told."""

import shutil
from pathlib import Path

import pytest

from benchmarks.rig.facility import Facility, check_completed, read_tree, receive


@pytest.mark.slow
def test_an_older_copy_of_the_state_finds_what_was_made_after_it(tmp_path: Path, quick_session: Path) -> None:
    facility = Facility.build(tmp_path)
    frames = facility.gpfs / "night" / "frames"
    movies = sorted((quick_session / "frames").iterdir())[:2]
    receive(quick_session, frames.parent, [movies[0].name])
    assert facility.run_once().code == 0
    shutil.copytree(facility.state, tmp_path / "copy")
    for movie in movies[1:]:
        (frames / movie.name).hardlink_to(movie)
    second = facility.run_once()
    assert second.code == 0, second.out + second.err
    made = results(facility)

    shutil.rmtree(facility.state)
    (tmp_path / "copy").rename(facility.state)
    last = facility.run_once()

    assert last.code == 0, last.err
    assert last.err.count("found complete on disk and taken over") == 1, last.err
    assert results(facility) == made
    check_completed(facility, movies=2)
    assert facility.elcano("audit", "--deep").code == 0


def results(facility: Facility) -> dict[str, str]:
    """Every file of the sessions but their tables, which are written anew."""
    tree = read_tree(facility.home, leave_out=(".elcano",))
    return {name: digest for name, digest in tree.items() if "/tables/" not in name}
