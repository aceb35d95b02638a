"""The poller on real trees: nothing missed, nothing announced twice, nothing invented."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.domain.movie import FileIdentity
from daemon.watchers.directory import DirectoryPoller, PollSettings
from daemon.watchers.found import KnownFile
from daemon.watchers.selection import MovieSelection

COLD = PollSettings(hot_s=0.0, rescan_s=300.0, sweep_files_per_poll=0)
"""Only directory times decide: what these tests find, they find for the reason they name."""


def make(path: Path, content: bytes = b"movie") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def identity(path: Path) -> FileIdentity:
    status = path.stat()
    return FileIdentity(path, status.st_size, status.st_mtime_ns)


def new_paths(poller: DirectoryPoller, now_s: float) -> list[Path]:
    return [found.path for found in poller.poll(now_s).new]


def restore_mtime(folder: Path, mtime_ns: int) -> None:
    os.utime(folder, ns=(mtime_ns, mtime_ns))


class TestNewFiles:
    def test_what_is_there_is_announced_once(self, tmp_path: Path) -> None:
        movie = make(tmp_path / "frames" / "a.tif")
        poller = DirectoryPoller(tmp_path)
        result = poller.poll(0.0)
        assert [found.identity for found in result.new] == [identity(movie)]
        assert result.new[0].seen_at_s == 0.0
        assert not poller.poll(1.0).has_news

    def test_a_file_that_comes_later(self, tmp_path: Path) -> None:
        poller = DirectoryPoller(tmp_path, settings=COLD)
        assert new_paths(poller, 0.0) == []
        movie = make(tmp_path / "a.eer")
        assert new_paths(poller, 1.0) == [movie]
        assert new_paths(poller, 2.0) == []

    def test_a_new_nested_tree_is_found_in_one_poll(self, tmp_path: Path) -> None:
        poller = DirectoryPoller(tmp_path, settings=COLD)
        poller.poll(0.0)
        movies = [
            make(tmp_path / f"Images-Disc1/GridSquare_{i}/Data/FoilHole_{j}.tiff") for i in range(3) for j in (0, 1)
        ]
        assert sorted(new_paths(poller, 1.0)) == movies
        late = make(tmp_path / "Images-Disc1/GridSquare_1/Data/late.tiff")
        assert new_paths(poller, 2.0) == [late]

    def test_a_directory_stays_hot_because_its_time_may_be_too_coarse(self, tmp_path: Path) -> None:
        poller = DirectoryPoller(tmp_path, settings=PollSettings(hot_s=5.0, rescan_s=300.0, sweep_files_per_poll=0))
        poller.poll(0.0)
        make(tmp_path / "a.tif")
        coarse_ns = tmp_path.stat().st_mtime_ns
        poller.poll(100.0)
        late = make(tmp_path / "b.tif")
        restore_mtime(tmp_path, coarse_ns)
        assert new_paths(poller, 104.0) == [late]

    def test_a_missed_directory_time_is_made_up_for_by_the_rescan(self, tmp_path: Path) -> None:
        poller = DirectoryPoller(tmp_path, settings=COLD)
        poller.poll(0.0)
        stale_ns = tmp_path.stat().st_mtime_ns
        movie = make(tmp_path / "a.tif")
        restore_mtime(tmp_path, stale_ns)
        assert new_paths(poller, 1.0) == []
        assert new_paths(poller, 299.0) == []
        assert new_paths(poller, 300.0) == [movie]

    def test_a_hint_makes_up_for_it_at_once(self, tmp_path: Path) -> None:
        poller = DirectoryPoller(tmp_path, settings=COLD)
        poller.poll(0.0)
        stale_ns = tmp_path.stat().st_mtime_ns
        movie = make(tmp_path / "new" / "a.tif")
        restore_mtime(tmp_path, stale_ns)
        assert poller.suspect(movie)
        assert not poller.suspect(Path("/elsewhere/a.tif"))
        assert new_paths(poller, 1.0) == [movie]

    def test_the_order_is_that_of_the_names(self, tmp_path: Path) -> None:
        movies = [make(tmp_path / f"{name}.tif") for name in "dbca"]
        assert new_paths(DirectoryPoller(tmp_path), 0.0) == sorted(movies)


class TestRenamedIntoPlace:
    @pytest.mark.parametrize("temporary", [".a.tif.Xy12Zq", "a.tif.filepart", "a.tif.part", "a.tmp"])
    def test_a_copy_is_silent_until_it_is_renamed(self, tmp_path: Path, temporary: str) -> None:
        poller = DirectoryPoller(tmp_path, settings=COLD)
        copy = make(tmp_path / temporary)
        result = poller.poll(0.0)
        assert not result.has_news
        assert not result.other
        copy.rename(tmp_path / "a.tif")
        (found,) = poller.poll(1.0).new
        assert found.path == tmp_path / "a.tif"
        assert found.renamed_into_place

    def test_across_directories_in_either_order_of_listing(self, tmp_path: Path) -> None:
        for source, target in (("a", "b"), ("b", "a")):
            root = tmp_path / source
            copy = make(root / source / "x.part")
            (root / target).mkdir()
            poller = DirectoryPoller(root, settings=COLD)
            poller.poll(0.0)
            copy.rename(root / target / "x.tif")
            (found,) = poller.poll(1.0).new
            assert found.renamed_into_place

    def test_a_file_that_was_never_seen_under_another_name_is_not(self, tmp_path: Path) -> None:
        make(tmp_path / "a.tif")
        (found,) = DirectoryPoller(tmp_path).poll(0.0).new
        assert not found.renamed_into_place

    def test_an_inode_used_again_long_after_is_not(self, tmp_path: Path) -> None:
        poller = DirectoryPoller(tmp_path, settings=COLD)
        copy = make(tmp_path / "x.part")
        hidden = tmp_path.parent / f"{tmp_path.name}-kept"
        poller.poll(0.0)
        copy.rename(hidden)
        poller.poll(1.0)
        poller.poll(2.0)
        poller.poll(3.0)
        hidden.rename(tmp_path / "a.tif")
        (found,) = poller.poll(4.0).new
        assert not found.renamed_into_place


class TestVanished:
    def test_a_removed_file(self, tmp_path: Path) -> None:
        movie = make(tmp_path / "a.tif")
        poller = DirectoryPoller(tmp_path, settings=COLD)
        known = poller.poll(0.0).new[0].identity
        movie.unlink()
        result = poller.poll(1.0)
        assert result.vanished == [known]
        assert not poller.poll(2.0).has_news

    def test_a_file_that_comes_back_is_new(self, tmp_path: Path) -> None:
        movie = make(tmp_path / "a.tif")
        poller = DirectoryPoller(tmp_path, settings=COLD)
        poller.poll(0.0)
        movie.unlink()
        poller.poll(1.0)
        make(movie)
        assert new_paths(poller, 2.0) == [movie]

    def test_a_renamed_directory_takes_its_movies_along(self, tmp_path: Path) -> None:
        movies = [make(tmp_path / "old" / "deep" / name) for name in ("a.tif", "b.tif")]
        poller = DirectoryPoller(tmp_path, settings=COLD)
        poller.poll(0.0)
        (tmp_path / "old").rename(tmp_path / "new")
        result = poller.poll(1.0)
        assert sorted(file.path for file in result.vanished) == movies
        assert [found.path for found in result.new] == [tmp_path / "new" / "deep" / name for name in ("a.tif", "b.tif")]
        assert not result.problems
        late = make(tmp_path / "new" / "deep" / "c.tif")
        assert new_paths(poller, 2.0) == [late]

    def test_a_directory_moved_elsewhere_in_the_tree(self, tmp_path: Path) -> None:
        make(tmp_path / "z" / "inner" / "a.tif")
        (tmp_path / "a").mkdir()
        poller = DirectoryPoller(tmp_path, settings=COLD)
        poller.poll(0.0)
        (tmp_path / "z" / "inner").rename(tmp_path / "a" / "inner")
        result = poller.poll(1.0)
        assert [found.path for found in result.new] == [tmp_path / "a" / "inner" / "a.tif"]
        assert [file.path for file in result.vanished] == [tmp_path / "z" / "inner" / "a.tif"]

    def test_a_missing_root_is_a_problem_not_a_loss(self, tmp_path: Path) -> None:
        root = tmp_path / "raw"
        make(root / "a.tif")
        poller = DirectoryPoller(root, settings=COLD)
        poller.poll(0.0)
        root.rename(tmp_path / "away")
        result = poller.poll(1.0)
        assert [problem.path for problem in result.problems] == [root]
        assert not result.has_news
        assert not poller.poll(2.0).problems, "told once"
        (tmp_path / "away").rename(root)
        result = poller.poll(3.0)
        assert result.recovered == [root]
        assert not result.has_news

    @pytest.mark.parametrize("folder", ["", "frames", "frames/deep"])
    def test_an_empty_place_at_start_may_be_an_unmounted_one(self, tmp_path: Path, folder: str) -> None:
        known = [KnownFile(FileIdentity(tmp_path / "frames" / "deep" / "a.tif", 5, 5), settled=True)]
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        poller = DirectoryPoller(tmp_path, settings=COLD, known=known)
        result = poller.poll(0.0)
        assert not result.vanished
        assert [problem.path for problem in result.problems] == [tmp_path / folder]
        assert "unmounted?" in result.problems[0].what
        make(tmp_path / folder / "README")
        result = poller.poll(1.0)
        assert [file.path for file in result.vanished] == [known[0].identity.path]
        assert result.recovered == [tmp_path / folder]


class TestRewritten:
    def test_the_sweep_comes_round_to_every_file(self, tmp_path: Path) -> None:
        movies = [make(tmp_path / f"{i % 3}" / f"{i:02d}.tif") for i in range(30)]
        settings = PollSettings(hot_s=0.0, rescan_s=1e9, sweep_files_per_poll=7)
        poller = DirectoryPoller(tmp_path, settings=settings)
        poller.poll(0.0)
        before = identity(movies[17])
        make(movies[17], b"another movie")
        changes = [change for tick in range(1, 12) for change in poller.poll(float(tick)).changed]
        assert [(change.before, change.now.identity) for change in changes] == [(before, identity(movies[17]))]

    def test_a_judged_file_is_watched_closely_for_a_while(self, tmp_path: Path) -> None:
        movie = make(tmp_path / "a.tif")
        poller = DirectoryPoller(tmp_path, settings=COLD)
        poller.poll(0.0)
        make(movie, b"grown since it was first seen")
        poller.rebase([identity(movie)], 10.0)
        assert not poller.poll(10.0).changed
        make(movie, b"and written again after it was judged")
        assert [change.now.path for change in poller.poll(11.0).changed] == [movie]
        make(movie, b"much later")
        assert not poller.poll(1000.0).changed, "left to the slow sweep by now"

    def test_restored_files_are_compared_first(self, tmp_path: Path) -> None:
        movies = [make(tmp_path / f"{i}.tif") for i in range(10)]
        known = [KnownFile(identity(movie), settled=True) for movie in movies]
        make(movies[4], b"written while nobody watched")
        movies[5].unlink()
        extra = make(tmp_path / "new.tif")
        settings = PollSettings(hot_s=0.0, sweep_files_per_poll=0, verify_files_per_poll=6)
        poller = DirectoryPoller(tmp_path, settings=settings, known=known)
        first, second = poller.poll(0.0), poller.poll(1.0)
        assert [found.path for found in first.new] == [extra]
        assert [file.path for file in first.vanished] == [movies[5]]
        assert [change.now.path for change in first.changed] == [movies[4]]
        assert (first.unverified, second.unverified) == (4, 0)
        assert not second.has_news

    def test_a_restored_file_that_is_no_movie_by_its_name_is_none_when_written_again(self, tmp_path: Path) -> None:
        files = [make(tmp_path / name) for name in ("truth.json", "a.tif")]
        known = [KnownFile(identity(file), settled=True) for file in files]
        for file in files:
            make(file, b"written while nobody watched")
        result = DirectoryPoller(tmp_path, known=known).poll(0.0)
        assert [change.now.path for change in result.changed] == [files[1]]
        assert (result.new, result.vanished, result.other) == ([], [], [])

    def test_restored_files_in_a_directory_that_is_gone_have_vanished(self, tmp_path: Path) -> None:
        make(tmp_path / "session.json")
        gone = FileIdentity(tmp_path / "old" / "a.tif", 3, 4)
        poller = DirectoryPoller(tmp_path, known=[KnownFile(gone, settled=False)])
        assert poller.unsettled == (gone,)
        assert poller.poll(0.0).vanished == [gone]
        assert not poller.poll(1.0).has_news

    def test_a_file_that_becomes_a_directory(self, tmp_path: Path) -> None:
        movie = make(tmp_path / "a.tif")
        settings = PollSettings(hot_s=0.0, rescan_s=1e9)
        poller = DirectoryPoller(tmp_path, settings=settings)
        poller.poll(0.0)
        mtime_ns = tmp_path.stat().st_mtime_ns
        movie.unlink()
        inner = make(movie / "b.tif")
        restore_mtime(tmp_path, mtime_ns)
        results = [poller.poll(float(tick)) for tick in range(1, 4)]
        assert [file.path for result in results for file in result.vanished] == [movie]
        assert [found.path for result in results for found in result.new] == [inner]


class TestLinks:
    def test_a_linked_movie_and_a_linked_directory_under_allowed_roots(self, tmp_path: Path) -> None:
        store = tmp_path / "store"
        make(store / "one" / "a.tif", b"linked movie")
        make(store / "two" / "b.tif")
        root = tmp_path / "raw"
        root.mkdir()
        (root / "x.tif").symlink_to(store / "one" / "a.tif")
        (root / "linked").symlink_to(store / "two")
        poller = DirectoryPoller(root, settings=COLD, allowed_roots=[store])
        found = {file.path: file.identity.size_bytes for file in poller.poll(0.0).new}
        assert found == {root / "x.tif": 12, root / "linked" / "b.tif": 5}
        make(store / "two" / "c.tif")
        assert new_paths(poller, 1.0) == [root / "linked" / "c.tif"]

    def test_links_that_leave_the_roots_are_left_alone_and_said_so(self, tmp_path: Path) -> None:
        secret = make(tmp_path / "private" / "a.tif")
        root = tmp_path / "raw"
        root.mkdir()
        (root / "x.tif").symlink_to(secret)
        (root / "linked").symlink_to(secret.parent)
        result = DirectoryPoller(root).poll(0.0)
        assert not result.new
        assert {file.identity.path.name: file.reason for file in result.other} == {
            "x.tif": "a symbolic link that leaves the allowed roots",
            "linked": "a symbolic link to a folder outside the allowed roots",
        }

    def test_every_movie_behind_a_link_out_of_the_roots_is_named_and_other_files_are_what_they_are(
        self, tmp_path: Path
    ) -> None:
        root = tmp_path / "raw"
        root.mkdir()
        for number in range(30):
            (root / f"{number:02d}.tif").symlink_to(make(tmp_path / "private" / f"{number}.tif"))
        (root / "notes.txt").symlink_to(make(tmp_path / "private" / "notes.txt"))
        make(root / "session.json")
        result = DirectoryPoller(root).poll(0.0)
        reasons = [file.reason for file in result.other]
        assert reasons.count("a symbolic link that leaves the allowed roots") == 30
        assert (len(reasons), reasons[-1]) == (31, "not a movie: .txt suffix")
        assert result.tallied == {}

    def test_a_root_whose_name_only_begins_like_an_allowed_one_is_outside(self, tmp_path: Path) -> None:
        make(tmp_path / "raw-private" / "a.tif")
        root = tmp_path / "raw"
        root.mkdir()
        (root / "x.tif").symlink_to(tmp_path / "raw-private" / "a.tif")
        assert not DirectoryPoller(root).poll(0.0).new

    def test_loops_end(self, tmp_path: Path) -> None:
        movie = make(tmp_path / "a" / "b" / "m.tif")
        (tmp_path / "a" / "b" / "up").symlink_to(tmp_path)
        (tmp_path / "a" / "again").symlink_to(tmp_path / "a" / "b")
        (tmp_path / "self").symlink_to(tmp_path / "self")
        assert new_paths(DirectoryPoller(tmp_path), 0.0) == [movie]

    def test_a_link_whose_target_comes_later(self, tmp_path: Path) -> None:
        target = tmp_path / "later" / "a.tif"
        (tmp_path / "x.tif").symlink_to(target)
        poller = DirectoryPoller(tmp_path, settings=COLD, selection=MovieSelection(excluded=("later",)))
        result = poller.poll(0.0)
        assert [problem.path for problem in result.problems] == [tmp_path / "x.tif"]
        assert not result.new
        make(target)
        assert new_paths(poller, 1.0) == []
        result = poller.poll(300.0)
        assert [found.path for found in result.new] == [tmp_path / "x.tif"]
        assert result.recovered == [tmp_path / "x.tif"]

    def test_the_root_itself_may_be_a_link(self, tmp_path: Path) -> None:
        make(tmp_path / "real" / "frames" / "a.tif")
        (tmp_path / "raw").symlink_to(tmp_path / "real")
        assert new_paths(DirectoryPoller(tmp_path / "raw"), 0.0) == [tmp_path / "raw" / "frames" / "a.tif"]

    def test_home_hidden_and_reference_folders_are_never_entered(self, tmp_path: Path) -> None:
        movie = make(tmp_path / "frames" / "a.tif")
        make(tmp_path / "home" / "s" / "motioncor" / "N.mrc")
        make(tmp_path / ".snapshots" / "a.tif")
        make(tmp_path / "gains" / "gain.mrc")
        (tmp_path / "frames" / "to-home").symlink_to(tmp_path / "home")
        poller = DirectoryPoller(tmp_path, forbidden=[tmp_path / "home"])
        assert new_paths(poller, 0.0) == [movie]


class TestOtherFiles:
    def test_they_are_named_with_a_reason_up_to_a_number_for_each_suffix_then_counted(self, tmp_path: Path) -> None:
        for index in range(10):
            make(tmp_path / f"{index}.jpg")
            make(tmp_path / f"{index}.xml")
        make(tmp_path / "README")
        poller = DirectoryPoller(tmp_path, settings=PollSettings(named_others_per_suffix=3))
        result = poller.poll(0.0)
        assert len(result.other) == 7
        assert result.tallied == {".jpg": 7, ".xml": 7}
        assert {file.reason for file in result.other} == {
            "not a movie: .jpg suffix",
            "not a movie: .xml suffix",
            "not a movie: no suffix",
        }
        assert not poller.poll(1.0).other

    def test_what_is_not_a_regular_file_is_never_opened(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "a.tif")
        result = DirectoryPoller(tmp_path).poll(0.0)
        assert not result.new
        assert [file.reason for file in result.other] == ["not a regular file"]

    def test_a_movie_whose_name_is_not_utf8_is_named_always(self, tmp_path: Path) -> None:
        for number in range(30):
            Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff%d.tif" % number)).write_bytes(b"x")
        result = DirectoryPoller(tmp_path).poll(0.0)
        assert not result.new
        assert len(result.other) == 30
        assert {file.reason for file in result.other} == {"its name is not UTF-8: rename it"}

    def test_a_folder_whose_name_is_not_utf8_is_told_in_plain_text(self, tmp_path: Path) -> None:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe")).mkdir()
        poller = DirectoryPoller(tmp_path)
        result = poller.poll(0.0)
        assert not result.new
        (problem,) = result.problems
        assert str(problem.path).encode()
        assert "not UTF-8" in problem.what
        assert not poller.poll(1.0).problems

    def test_the_movie_pattern_decides(self, tmp_path: Path) -> None:
        movie = make(tmp_path / "a_fractions.tiff")
        make(tmp_path / "a.mrc")
        poller = DirectoryPoller(tmp_path, selection=MovieSelection("*_fractions.tiff"))
        result = poller.poll(0.0)
        assert [found.path for found in result.new] == [movie]
        assert [file.reason for file in result.other] == ["does not match the movie pattern *_fractions.tiff"]


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that any user can reach, which pytest's own are not."""
    folder = Path(tempfile.mkdtemp(prefix="elcano-test-"))
    folder.chmod(0o755)
    yield folder
    for path in folder.rglob("*"):
        if path.is_dir():
            path.chmod(0o755)
    shutil.rmtree(folder)


@pytest.fixture
def as_nobody() -> Iterator[None]:
    """Drop the superuser's right to read everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.usefixtures("as_nobody")
def test_permission_lost_is_told_once_and_takes_nothing_away(open_folder: Path) -> None:
    owner = open_folder.stat().st_uid
    os.seteuid(owner)
    movie = make(open_folder / "closed" / "a.tif")
    open_movie = make(open_folder / "open" / "b.tif")
    nobody = owner if owner != 0 else 65534

    def closed_to_us(mode: int) -> None:
        os.seteuid(owner)
        movie.parent.chmod(mode)
        os.seteuid(nobody)

    os.seteuid(nobody)
    poller = DirectoryPoller(open_folder, settings=PollSettings(rescan_s=1.0))
    assert sorted(new_paths(poller, 0.0)) == [movie, open_movie]
    closed_to_us(0o000)
    results = [poller.poll(float(tick)) for tick in (10, 20, 30)]
    assert not any(result.has_news for result in results)
    assert {problem.path for problem in results[0].problems} == {movie.parent}
    assert "Permission denied" in results[0].problems[0].what
    assert not results[2].problems
    closed_to_us(0o755)
    result = poller.poll(40.0)
    assert movie.parent in result.recovered
    assert not result.has_news


def test_what_is_moved_away_as_a_whole_takes_no_movie_with_it(tmp_path: Path) -> None:
    root = tmp_path / "session"
    movie = make(root / "frames" / "square" / "x.tif")
    poller = DirectoryPoller(root)
    assert new_paths(poller, 0.0) == [movie]
    elsewhere = root.rename(tmp_path / "renamed")
    for now_s in (1.0, 100.0):
        assert poller.poll(now_s, everything=True).vanished == []
    elsewhere.rename(root)
    result = poller.poll(101.0)
    assert (result.vanished, result.new, result.changed) == ([], [], [])
    shutil.rmtree(root / "frames")
    assert [gone.path for gone in poller.poll(102.0).vanished] == [movie], "what is removed in it is told"
