import os
import secrets
from pathlib import Path

import pytest

from daemon.app.service_manager import ServiceManager
from tests.app.listener import Listener


def test_what_is_said_is_what_systemd_expects(tmp_path: Path) -> None:
    with Listener.at(tmp_path) as listener:
        manager = ServiceManager(listener.address, 30.0)
        manager.ready("3 movies done,\n0 waiting")
        manager.ping()
        manager.status("4 movies done")
        manager.reloading()
        manager.stopping()
        assert listener.hear() == {"READY": "1", "STATUS": "3 movies done, 0 waiting"}
        assert listener.hear() == {"WATCHDOG": "1"}
        assert listener.hear() == {"STATUS": "4 movies done"}
        reloading = listener.hear()
        assert set(reloading) == {"RELOADING", "MONOTONIC_USEC"}
        assert reloading["MONOTONIC_USEC"].isdecimal()
        assert listener.hear() == {"STOPPING": "1", "STATUS": "stopping"}


def test_a_socket_in_the_abstract_space_is_reached() -> None:
    listener = Listener(f"@elcano-test-{secrets.token_hex(8)}")
    try:
        ServiceManager(listener.address).ping()
        assert listener.hear() == {"WATCHDOG": "1"}
    finally:
        listener.close()


@pytest.mark.parametrize(
    ("told", "watchdog_s"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "often"}, None),
        ({}, None),
    ],
)
def test_the_environment_says_who_hears_and_how_often(told: dict[str, str], watchdog_s: float | None) -> None:
    environ = {"NOTIFY_SOCKET": "/run/notify", "PATH": "/bin", **told}
    manager = ServiceManager.of(environ)
    assert manager.is_there
    assert manager.watchdog_s == watchdog_s
    assert environ == {"PATH": "/bin"}, "children must not speak in our name"


def test_without_a_manager_nothing_is_said_and_nothing_fails() -> None:
    manager = ServiceManager.of({"WATCHDOG_USEC": "1000000"})
    assert not manager.is_there
    assert manager.watchdog_s is None
    manager.ready("well")


def test_a_manager_that_is_gone_is_told_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    manager = ServiceManager(str(tmp_path / "gone"))
    manager.ping()
    manager.ping()
    said = capsys.readouterr().out + caplog.text
    assert said.count("the service manager does not hear") == 1
