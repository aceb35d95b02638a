from pathlib import Path

import pytest

from daemon.config.effective import effective_keys
from daemon.config.finding import find_config


def test_every_value_tells_who_set_it(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(
        "[watch]\npoll_min_s = 2\n[bus]\nurl = 'nats://me:secret@host:4222'\n[[session]]\ndirectory = '/raw/a'\n"
        "acquisition = {voltage_kv = 300, gain = {path = 'gain.mrc'}}\n"
    )
    environ = {"ELCANO__WATCH__SETTLE": "{min_quiet_s = 7}", "MAGELLON_GPFS_PATH": "/gpfs", "HOME": "/h"}
    keys = {key.key: (key.value, key.origin) for key in effective_keys(path, {}, environ)}
    assert keys["watch.poll_min_s"] == (2.0, str(path))
    assert keys["watch.poll_max_s"] == (5.0, "default")
    assert keys["watch.settle.min_quiet_s"] == (7.0, "ELCANO__WATCH__SETTLE")
    assert keys["paths.gpfs"] == ("/gpfs", "MAGELLON_GPFS_PATH")
    assert keys["paths.state"] == ("/h/.local/state/elcano", "default")
    assert keys["bus.url"] == ("nats://***@host:4222", str(path))
    assert keys["session[0].acquisition.voltage_kv"] == (300.0, str(path))
    assert keys["session[0].acquisition.pixel_size_ang"] == (None, "default")
    assert keys["session[0].acquisition.gain.path"] == ("gain.mrc", str(path))


def test_credentials_of_the_service_manager_tell_where_they_are_from(tmp_path: Path) -> None:
    (tmp_path / "nats.creds").write_text("")
    environ = {"HOME": "/h", "CREDENTIALS_DIRECTORY": str(tmp_path), "ELCANO__BUS__URL": "nats://host:4222"}
    keys = {key.key: (key.value, key.origin) for key in effective_keys(None, {}, environ)}
    assert keys["bus.credentials"] == (str(tmp_path / "nats.creds"), "CREDENTIALS_DIRECTORY")


def test_which_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    user = tmp_path / "home/.config/elcano/config.toml"
    user.parent.mkdir(parents=True)
    user.write_text("")
    environ = {"HOME": str(tmp_path / "home")}
    assert find_config(None, environ) == user
    assert find_config(None, {"XDG_CONFIG_HOME": str(tmp_path / "home/.config")}) == user
    Path("config.toml").write_text("")
    assert find_config(None, environ) == Path("config.toml")
    assert find_config(None, {**environ, "ELCANO_CONFIG": "/named/by/variable"}) == Path("/named/by/variable")
    assert find_config(Path("mine.toml"), {"ELCANO_CONFIG": "/other"}) == Path("mine.toml")
