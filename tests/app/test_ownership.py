"""Who may be the daemon of a state and a home, seen from a second node."""

import os
from pathlib import Path

import pytest

from benchmarks.rig.facility import Facility
from daemon.app.ownership import find_living_elsewhere, own_places, own_state
from daemon.cli.options import answer_of
from daemon.config.loader import load_settings
from daemon.config.schema import Settings
from daemon.engine.claim import CLAIM_NAME, HomeClaim
from daemon.errors import DaemonNotRunning, HomeTaken


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr("os.umask", lambda mask: 0o022)  # of the whole process, which goes on
    return load_settings(Facility.build(tmp_path).config, None, {})


def test_a_state_that_another_node_works_with_is_refused_and_left_alone(settings: Settings) -> None:
    other = HomeClaim(settings.state, settings.state, key="state", boot_id="another node")
    other.take()
    with pytest.raises(HomeTaken, match=r"each node a \[paths\] state of its own"):
        own_state(settings)
    assert [path.name for path in settings.state.iterdir()] == [".elcano"]
    other.release()
    own_state(settings).release()


def test_claims_dated_in_the_future_are_left_to_who_takes_them(settings: Settings) -> None:
    """Their holder may be dead: a refusal here would last until the clock has caught up."""
    for folder, key in ((settings.state, "state"), (settings.paths.home, "home")):
        other = HomeClaim(folder, Path("/state1"), key=key, boot_id="another node")
        other.take()
        assert other._file is not None
        other._file.close()  # what the kernel of another node locks is not seen here
        os.utime(folder / CLAIM_NAME, (2**32, 2**32))
    own_places(settings).release()


def test_a_home_that_another_node_works_in_is_refused_before_anything_is_opened(settings: Settings) -> None:
    other = HomeClaim(settings.paths.home, Path("/state1"), boot_id="another node")
    other.take()
    with pytest.raises(HomeTaken, match=r"state in /state1"):
        own_places(settings)
    own_state(settings).release()  # nothing is held after the refusal
    other.release()
    own_places(settings).release()


def test_a_command_on_the_wrong_node_says_where_the_daemon_is(settings: Settings) -> None:
    assert find_living_elsewhere(settings) is None
    other = HomeClaim(settings.paths.home, Path("/state1"), boot_id="another node")
    other.take()
    with pytest.raises(DaemonNotRunning, match=r"on the other node: the daemon with process \d+ on .*/state1"):
        answer_of(settings, "status", {})
    other.release()
    with pytest.raises(DaemonNotRunning, match="Start it with `elcano run`"):
        answer_of(settings, "status", {})
