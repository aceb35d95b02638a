"""What the kernel names in a large directory is found without listing it, and nothing is lost by that."""

import os
from pathlib import Path

import pytest

from daemon.watchers.directory import DirectoryPoller, PollSettings
from daemon.watchers.found import PollResult

SETTINGS = PollSettings(hot_s=5.0, rescan_s=300.0, large_names=3, sweep_files_per_poll=0)


class Listings:
    """Counts how often directories are listed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        listdir = os.listdir

        def count(path: str) -> list[str]:
            self.count += 1
            return listdir(path)

        monkeypatch.setattr(os, "listdir", count)


@pytest.fixture
def listings(monkeypatch: pytest.MonkeyPatch) -> Listings:
    return Listings(monkeypatch)


@pytest.fixture
def poller(tmp_path: Path) -> DirectoryPoller:
    for name in "abc":
        (tmp_path / f"{name}.tif").touch()
    poller = DirectoryPoller(tmp_path, settings=SETTINGS)
    poller.poll(0.0)
    poller.poll(100.0)  # not hot any more
    return poller


def add(poller: DirectoryPoller, path: Path, *, is_named: bool = True) -> Path:
    path.touch()
    if is_named:
        poller.name(str(path))
    return path


def news(result: PollResult) -> tuple[list[Path], list[Path]]:
    return [found.path for found in result.new], [identity.path for identity in result.vanished]


def test_a_named_movie_is_found_at_once_and_the_listing_follows_once(
    tmp_path: Path, poller: DirectoryPoller, listings: Listings
) -> None:
    before = listings.count
    movie = add(poller, tmp_path / "d.tif")
    assert news(poller.poll(101.0)) == ([movie], [])
    lost = add(poller, tmp_path / "e.tif", is_named=False)
    later = add(poller, tmp_path / "f.tif")
    assert news(poller.poll(103.0)) == ([later], [])
    assert listings.count == before
    # Names that keep coming never put the listing off for longer.
    assert news(poller.poll(105.9)) == ([], [])
    last = add(poller, tmp_path / "g.tif")
    assert news(poller.poll(106.0)) == ([last, lost], [])
    assert listings.count == before + 1


def test_a_small_directory_is_simply_listed(tmp_path: Path, listings: Listings) -> None:
    poller = DirectoryPoller(tmp_path, settings=SETTINGS)
    poller.poll(0.0)
    before = listings.count
    movie = add(poller, tmp_path / "a.tif")
    assert news(poller.poll(1.0)) == ([movie], [])
    assert listings.count == before + 1


def test_a_movie_renamed_by_name_is_gone_and_come_in_one_poll(tmp_path: Path, poller: DirectoryPoller) -> None:
    (tmp_path / "a.tif").rename(tmp_path / "z.tif")
    poller.name(str(tmp_path / "a.tif"))
    poller.name(str(tmp_path / "z.tif"))
    assert news(poller.poll(101.0)) == ([tmp_path / "z.tif"], [tmp_path / "a.tif"])


def test_a_copy_renamed_into_place_is_recognised_without_a_listing(
    tmp_path: Path, poller: DirectoryPoller, listings: Listings
) -> None:
    before = listings.count
    add(poller, tmp_path / "d.tif.part")
    assert news(poller.poll(101.0)) == ([], [])
    (tmp_path / "d.tif.part").rename(tmp_path / "d.tif")
    for name in ("d.tif.part", "d.tif"):
        poller.name(str(tmp_path / name))
    (found,) = poller.poll(102.0).new
    assert found.path == tmp_path / "d.tif"
    assert found.renamed_into_place
    assert listings.count == before


def test_a_named_directory_is_entered_and_what_is_gone_again_is_no_news(
    tmp_path: Path, poller: DirectoryPoller
) -> None:
    (tmp_path / "GridSquare_1").mkdir()
    movie = add(poller, tmp_path / "GridSquare_1" / "a.tif")
    poller.name(str(tmp_path / "GridSquare_1"))
    poller.name(str(tmp_path / "never.tif"))
    result = poller.poll(101.0)
    assert news(result) == ([movie], [])
    assert result.problems == []
