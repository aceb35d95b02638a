"""Mounts that do not answer: reading the configuration goes on, and what hangs is asked once."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.config.changes import compare
from daemon.config.loader import load_settings
from daemon.config.places import RealPlaces
from daemon.errors import ConfigurationInvalid

PATIENCE_S = 60.0


class Mounts:
    """Follows links, but for paths of a dead mount: there nobody returns before the end of the test."""

    def __init__(self, dead: Path) -> None:
        self.dead = dead
        self.asked: list[Path] = []
        self.released = threading.Event()

    def follow(self, path: Path) -> Path:
        self.asked.append(path)
        if path.is_relative_to(self.dead):
            self.released.wait(PATIENCE_S)
        return path.resolve()

    def wait(self, path: Path, answered: threading.Event, left_s: float) -> bool:
        """Wait without a clock: what is alive answers, what is dead has not."""
        del left_s
        if self.released.is_set() or not path.is_relative_to(self.dead):
            return answered.wait(PATIENCE_S)
        return answered.is_set()


@pytest.fixture
def mounts(tmp_path: Path) -> Iterator[Mounts]:
    made = Mounts(tmp_path / "dead")
    yield made
    made.released.set()


@pytest.fixture
def places(mounts: Mounts) -> RealPlaces:
    return RealPlaces(mounts.follow, wait=mounts.wait)


def test_links_are_followed_but_for_what_does_not_answer(tmp_path: Path, places: RealPlaces) -> None:
    (tmp_path / "alive").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "alive")
    named = tmp_path / "dead" / "x" / ".." / "s1"
    assert places.real_paths([named, tmp_path / "link"]) == {
        named: tmp_path / "dead" / "s1",
        tmp_path / "link": tmp_path / "alive",
    }


def test_what_hangs_is_not_asked_again_until_it_has_answered(
    tmp_path: Path, mounts: Mounts, places: RealPlaces
) -> None:
    (tmp_path / "target").mkdir()
    mounts.dead.symlink_to(tmp_path / "target")
    assert places.real_path(mounts.dead) == mounts.dead
    assert places.real_path(mounts.dead) == mounts.dead
    assert mounts.asked == [mounts.dead]
    mounts.released.set()
    assert places.real_path(mounts.dead) == tmp_path / "target"
    assert places.real_path(mounts.dead) == tmp_path / "target"
    assert mounts.asked.count(mounts.dead) >= 2


def test_the_limit_ends_the_wait_for_a_mount_that_never_answers(tmp_path: Path, mounts: Mounts) -> None:
    patient = RealPlaces(mounts.follow, limit_s=0.01)
    assert patient.real_path(mounts.dead / "s1") == mounts.dead / "s1"


def test_a_circle_of_links_is_taken_as_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert RealPlaces(limit_s=PATIENCE_S).real_path(tmp_path / "a") == tmp_path / "a"


def write_config(tmp_path: Path, entries: str) -> Path:
    (tmp_path / "gpfs").mkdir(exist_ok=True)
    config = tmp_path / "config.toml"
    config.write_text(
        f'[paths]\ngpfs = "{tmp_path}/gpfs"\nhome = "{tmp_path}/home"\nstate = "{tmp_path}/state"\n{entries}'
    )
    return config


def test_a_session_on_a_dead_mount_keeps_no_configuration_from_being_read(
    tmp_path: Path, mounts: Mounts, places: RealPlaces
) -> None:
    dead, alive = mounts.dead / "s1", tmp_path / "alive"
    config = write_config(tmp_path, f'[[session]]\ndirectory = "{dead}"\n[[session]]\ndirectory = "{alive}"\n')
    settings = load_settings(config, {}, {}, places=places)
    assert [entry.directory for entry in settings.sessions] == [dead, alive]
    config.write_text(config.read_text() + f'[[session]]\ndirectory = "{tmp_path}/more"\n')
    changes = compare(settings, load_settings(config, {}, {}, places=places), places=places)
    assert [entry.directory.name for entry in changes.entries] == ["more"]
    assert changes.dropped == ()


def test_folders_of_a_dead_mount_are_compared_as_they_are_named(
    tmp_path: Path, mounts: Mounts, places: RealPlaces
) -> None:
    dead = mounts.dead / "s1"
    config = write_config(
        tmp_path, f'[[session]]\ndirectory = "{dead}"\nname = "a"\n[[session]]\ndirectory = "{dead}"\n'
    )
    config.write_text(config.read_text().replace(f"{tmp_path}/home", f"{dead}/home"))
    with pytest.raises(ConfigurationInvalid) as caught:
        load_settings(config, {}, {}, places=places)
    told = {problem.where: problem.what for problem in caught.value.problems}
    assert told["session[1].directory"] == f"{dead} is already that of session[0]"
    assert told["paths.home"].startswith(f"{dead}/home lies under the watched session[")
