from collections.abc import Mapping
from pathlib import Path
from typing import Self

import pytest
from pydantic import BaseModel, ConfigDict, Field, model_validator

from daemon.config.loader import load_settings, load_to_ask, settings_model
from daemon.config.schema import Settings, SettleSettings
from daemon.config.web import is_loopback
from daemon.errors import ConfigurationInvalid
from daemon.watchers.settle import SettleRule


class FitParams(BaseModel):
    """Fit the contrast transfer function."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    box_px: int = Field(default=512, ge=64, le=4096, description="Side of a tile.")
    window_deg: float = Field(default=10.0, gt=0, lt=90, description="Width of a sector.")


STAGES: Mapping[str, type[BaseModel]] = {"ctf_estimation": FitParams}
ENVIRON = {"HOME": "/home/someone"}


def load(tmp_path: Path, text: str, environ: Mapping[str, str] | None = None) -> Settings:
    path = tmp_path / "config.toml"
    path.write_text(text, encoding="utf-8")
    return load_settings(path, STAGES, {**ENVIRON, **(environ or {})})


def problems(tmp_path: Path, text: str, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Where → everything said about it."""
    with pytest.raises(ConfigurationInvalid) as caught:
        load(tmp_path, text, environ)
    return {problem.where: f"{problem.what} ({problem.hint})" for problem in caught.value.problems}


def test_defaults_hold_without_any_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load_settings(None, STAGES, ENVIRON)
    assert settings.source is None
    assert settings.paths.gpfs == tmp_path / "elcano-data/gpfs"
    assert settings.state == Path("/home/someone/.local/state/elcano")
    assert settings.watched_roots == (settings.paths.gpfs,)
    assert settings.stages["ctf_estimation"].enabled
    assert settings.stages["ctf_estimation"].params == FitParams()
    assert settings.compute.thread_count() >= 1
    assert settings.output.umask_bits == 0o027


def test_file_over_default_and_environment_over_file(tmp_path: Path) -> None:
    text = "[watch]\npoll_min_s = 2\nhints = false\n[bus]\ninstance = 'krios1'\n[stages.ctf_estimation]\nbox_px = 256\n"
    environ = {
        "ELCANO__WATCH__POLL_MIN_S": "3",
        "ELCANO__BUS__PREFIX": "7",
        "ELCANO__LOG__LEVEL": "debug",
        "ELCANO__STAGES__CTF_ESTIMATION__ENABLED": "False",
        "ELCANO__WATCH__ROOTS": '["/a", "b"]',
        "ELCANO__SESSION": '[{directory = "s1"}]',
        "MAGELLON_GPFS_PATH": "/mnt/gpfs",
        "MAGELLON_HOME_PATH": "results",
    }
    settings = load(tmp_path, text, environ)
    assert settings.watch.poll_min_s == 3
    assert not settings.watch.hints
    assert (settings.bus.instance, settings.bus.prefix) == ("krios1", "7")
    assert settings.log.level == "debug"
    assert not settings.stages["ctf_estimation"].enabled
    assert settings.stages["ctf_estimation"].params == FitParams(box_px=256)
    assert type(settings.stages["ctf_estimation"].params) is FitParams
    assert settings.watched_roots == (Path("/a"), tmp_path / "b")
    assert settings.session_holders == settings.watched_roots
    assert settings.paths.gpfs == Path("/mnt/gpfs")
    assert settings.paths.home == tmp_path / "results"
    assert [entry.session_name for entry in settings.sessions] == ["s1"]
    assert settings.allowed_roots == (Path("/a"), tmp_path / "b", Path("/mnt/gpfs"), tmp_path / "s1")


def test_every_problem_is_told_at_once_with_path_value_range_and_unit(tmp_path: Path) -> None:
    told = problems(
        tmp_path,
        """
        wacth = 1
        [paths]
        gpfs = "/gpfs"
        home = "/gpfs/home"
        [bus]
        url = "http://nats"
        instance = 7
        [watch]
        poll_min_s = 0
        poll_max_s = "fast"
        order = "newest"
        threads = 4
        pol_min_s = 2
        [watch.settle]
        quiet_s = 3
        [compute]
        byte_budget_gib = -1.5
        threads = true
        [output]
        umask = "0777"
        group = "no-such-group-anywhere"
        [stages.ctf_estimation]
        box_px = 8192
        window_deg = nan
        enabeld = true
        [stages.ctf_estimate]
        """,
        {"ELCANO__COMPUTE__READERS": "many", "ELCANO__METRICS__PORT": "9100", "ELCANO__": "x"},
    )
    assert told == {
        "ELCANO__": "names no key (write ELCANO__SECTION__KEY)",
        "metrics (from ELCANO__METRICS__PORT)": told["metrics (from ELCANO__METRICS__PORT)"],
        "wacth": "unknown section (did you mean [watch]?)",
        "paths.home": "/gpfs/home lies under the watched paths.gpfs /gpfs "
        "(choose a place outside: raw data are read-only)",
        "bus.url": '"http://nats" is not allowed: must look like nats://host:4222 (schemes: nats, tls, ws, wss) ()',
        "bus.instance": "7 is not allowed (takes up to 32 small letters, digits, - and _)",
        "watch.poll_min_s": "0 is not allowed (takes a number from 0.1 to 60 s)",
        "watch.poll_max_s": '"fast" is not allowed (takes a number from 0.1 to 3600 s)',
        "watch.order": '"newest" is not allowed (takes one of normal, oldest, latest, alternate)',
        "watch.threads": "unknown key (did you mean compute.threads?)",
        "watch.pol_min_s": "unknown key (did you mean poll_min_s?)",
        "watch.settle.quiet_s": "unknown key (did you mean min_quiet_s?)",
        "compute.byte_budget_gib": "-1.5 is not allowed (takes a number from 0.25 to 16384 GiB)",
        "compute.threads": "true is not allowed (takes a whole number from 0 to 512)",
        "compute.readers (from ELCANO__COMPUTE__READERS)": '"many" is not allowed (takes a whole number from 1 to 64)',
        "output.umask": '"0777" is not allowed (takes octal digits in quotes, such as "0027"; '
        "the owner keeps all rights)",
        "output.group": '"no-such-group-anywhere": this machine knows no such group ()',
        "stages.ctf_estimation.box_px": "8192 is not allowed (takes a whole number from 64 to 4096 px)",
        "stages.ctf_estimation.window_deg": "NaN is not allowed (takes a number above 0 and below 90 °)",
        "stages.ctf_estimation.enabeld": "unknown key (did you mean enabled?)",
        "stages.ctf_estimate": "unknown key (did you mean ctf_estimation?)",
    }
    assert told["metrics (from ELCANO__METRICS__PORT)"].startswith("unknown section")


class RangeParams(BaseModel):
    """Search a range."""

    lowest_ang: float = Field(default=1.0, ge=0, description="Least.")
    highest_ang: float = Field(default=2.0, ge=0, description="Most.")
    title: str = Field(default="", description="Not spoken of.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.lowest_ang >= self.highest_ang:
            raise ValueError("lowest_ang must be below highest_ang")
        return self


def test_a_wrong_key_hides_no_rule_that_others_break_and_no_section_is_told_whole(tmp_path: Path) -> None:
    """Rules of several keys are looked at once each key is right by itself."""
    path = tmp_path / "config.toml"
    path.write_text(
        """
        [stages.search]
        lowest_ang = 9
        highest_ang = 3
        title = "long words that nobody asked for"
        titel = "x"
        [[session]]
        name = 5
        directory = "/raw/a"
        pipeline = ["serch"]
        [session.acquisition]
        voltage = 300
        dose_per_frame_e_per_ang2 = 1.5
        total_dose_e_per_ang2 = 40
        gain = [{ path = "g" }]
        eer = { fractions = 3, dose_per_fraction_e_per_ang2 = 1.0, upsampling = 1 }
        [[session]]
        directory = "/raw/a"
        name = "a b/c"
        """
    )
    with pytest.raises(ConfigurationInvalid) as caught:
        load_settings(path, {"search": RangeParams}, ENVIRON)
    told = {(problem.line, problem.where): problem.what for problem in caught.value.problems}
    assert told == {
        (2, "stages.search"): "lowest_ang = 9, highest_ang = 3: lowest_ang must be below highest_ang",
        (6, "stages.search.titel"): "unknown key",
        (8, "session[0].name"): "5 is not allowed",
        (10, "session[0].pipeline"): '"serch" is not a stage',
        (11, "session[0].acquisition"): "two doses are given: dose_per_frame_e_per_ang2 = 1.5 and "
        "total_dose_e_per_ang2 = 40",
        (12, "session[0].acquisition.voltage"): "unknown key",
        (15, "session[0].acquisition.gain"): "a list of tables is not allowed",
        (16, "session[0].acquisition.eer"): "fractions = 3, dose_per_fraction_e_per_ang2 = 1.0: give fractions or "
        "dose_per_fraction_e_per_ang2, not both",
        (18, "session[1].directory"): "/raw/a is already that of session[0]",
        (19, "session[1].name"): '"a b/c" contains a path separator',
    }
    assert [problem.line for problem in caught.value.problems] == sorted(line for line, _ in told if line)
    assert "long words" not in str(caught.value)


def test_an_unknown_key_is_met_with_the_one_that_was_meant(tmp_path: Path) -> None:
    told = problems(
        tmp_path,
        "[paths]\nwatch = 1\nHome = 'x'\nstages = 3\n[stages.ctf]\n[watch]\nperiod = 3\n[watch.settle]\nquiet = 3\n",
    )
    assert told["paths.watch"] == "unknown key (did you mean watch?)"
    assert told["paths.Home"] == "unknown key (did you mean home?)"
    assert told["paths.stages"] == "unknown key (did you mean stages?)"
    assert told["stages.ctf"] == "unknown key (did you mean ctf_estimation?)"
    assert told["watch.settle.quiet"] == "unknown key (did you mean min_quiet_s?)"
    assert told["watch.period"].startswith("unknown key (known here: hints, leave_tilt_series, order")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[log]\nlevel = loud\n", "line 2, .*: Invalid value, column 9 .text stands in quotes"),
        ("[x]\ncs_mm = 8,0 # mm\n", r"line 2, .*: .*use a point: 8\.0"),
        ("[log]\nlevel = 'info'\nlevel = 'info'\n", "line 3, .*the same key stands there twice"),
        ("[log]\n[bus]\n[log]\n", "line 3, .*the same section stands there twice"),
    ],
)
def test_common_slips_of_toml_are_explained(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigurationInvalid, match=words):
        load(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[path]\nhome = 'x'\n", r"path: unknown section \(did you mean \[paths\]\?\)"),
        ("[Bus]\nurl = 'nats://n:1'\n", r"Bus: unknown section \(did you mean \[bus\]\?\)"),
        ("home = 'x'\n", r"home: unknown section \(did you mean paths\.home\?\)"),
    ],
)
def test_a_command_that_asks_is_refused_where_the_place_of_the_daemon_is_probably_mistyped(
    tmp_path: Path, text: str, said: str
) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationInvalid, match=said):
        load_to_ask(path, ENVIRON)


def test_a_command_that_asks_needs_to_know_whom_and_where_only(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"

    def ask(text: str, **environ: str) -> tuple[Settings, list[str]]:
        path.write_text(text)
        settings, wrong = load_to_ask(path, {**ENVIRON, **environ})
        return settings, [problem.where for problem in wrong]

    rest = "[wacth]\n[watch]\npoll_min_s = 0\n[compute]\nthreads = 'x'\n[[session]]\nname = 'x'\n[stages]\nfft = 3\n"
    settings, wrong = ask(
        "[paths]\nhome = 'h'\nstate = 's'\ngpfs = 3\n[bus]\nurl = 'nats://n:1'\n" + rest, ELCANO__="1"
    )
    assert settings.paths.home == tmp_path / "h"
    assert settings.state == tmp_path / "s"
    assert settings.bus.url == "nats://n:1"
    assert settings.watch.poll_min_s == 1.0, "its default, in place of what was wrong"
    assert wrong == ["ELCANO__", "paths.gpfs", "wacth", "watch.poll_min_s", "compute.threads", "session[0].directory"]
    assert ask("[paths]\ngpfs = 'x'\nhome = 'x'\n")[1] == ["paths.home"], "it is told, and home is known all the same"
    for text, where in (
        ("[paths]\nhoem = 'h'\n" + rest, "paths.hoem"),
        ("[paths]\nhome = 3\n" + rest, "paths.home"),
        ("[bus]\nurl = 'nats'\n" + rest, "bus.url"),
        ("bus = 3\n", "bus"),
    ):
        with pytest.raises(ConfigurationInvalid) as caught:
            ask(text)
        assert [problem.where for problem in caught.value.problems] == [where], "and nothing that is not needed"
    with pytest.raises(ConfigurationInvalid, match="not valid TOML"):
        ask("[bus\n")


def test_text_is_not_taken_for_a_number_in_the_file(tmp_path: Path) -> None:
    assert problems(tmp_path, "[compute]\nreaders = '4'\n").keys() == {"compute.readers"}


def test_session_entries_are_checked_one_by_one_and_together(tmp_path: Path) -> None:
    told = problems(
        tmp_path,
        """
        [[session]]
        name = "a"
        [[session]]
        directory = "raw/a"
        pipeline = ["ctf_estimatoin"]
        acquisition = {pixel_size_ang = 0, defocus_range_um = [3, 1], gain = {}, voltage = 300}
        """,
    )
    assert told == {
        "session[0].directory": "required, but not given (takes a path)",
        "session[1].acquisition.pixel_size_ang": "0 is not allowed (takes a number from 0.05 to 10000 Å)",
        "session[1].acquisition.defocus_range_um": "[3, 1] is not allowed: the lower end must come first ()",
        "session[1].acquisition.gain.path": "required, but not given (takes a path)",
        "session[1].acquisition.voltage": "unknown key (did you mean voltage_kv?)",
        "session[1].pipeline": '"ctf_estimatoin" is not a stage (did you mean ctf_estimation?)',
    }
    told = problems(
        tmp_path,
        """
        [[session]]
        directory = "raw/a"
        [[session]]
        directory = "elsewhere/a"
        pipeline = ["ctf_estimatoin"]
        [[session]]
        directory = "raw/../raw/a"
        name = "b/c"
        acquisition = {dose_per_frame_e_per_ang2 = 1, total_dose_e_per_ang2 = 40}
        """,
    )
    assert told == {
        "session[1].name": "a is already that of session[0] ()",
        "session[1].pipeline": '"ctf_estimatoin" is not a stage (did you mean ctf_estimation?)',
        "session[2].name": '"b/c" contains a path separator ()',
        "session[2].directory": f"{tmp_path}/raw/a is already that of session[0] ()",
        "session[2].acquisition": "two doses are given: dose_per_frame_e_per_ang2 = 1 and total_dose_e_per_ang2 "
        "= 40 (give dose_per_frame_e_per_ang2 or total_dose_e_per_ang2)",
    }


def test_a_single_table_in_place_of_session_entries_is_explained(tmp_path: Path) -> None:
    assert problems(tmp_path, "[session]\ndirectory = 'x'\n") == {
        "session": "must be a list of tables (head each entry with [[session]])"
    }


def test_a_whole_entry_is_read(tmp_path: Path) -> None:
    entry = load(
        tmp_path,
        """
        [[session]]
        directory = "/gpfs/24dec03a"
        pipeline = []
        [session.acquisition]
        voltage_kv = 300
        defocus_range_um = [0.8, 2.5]
        gain = {path = "gains/gain.mrc", rotate_deg = 90, flip = "y", operation = "divide"}
        eer = {fractions = 60, upsampling = 2}
        """,
    ).sessions[0]
    assert entry.session_name == "24dec03a"
    assert entry.pipeline == ()
    assert entry.acquisition.voltage_kv == 300.0
    assert entry.acquisition.defocus_range_um == (0.8, 2.5)
    assert entry.acquisition.gain is not None
    assert entry.acquisition.gain.path == Path("gains/gain.mrc")


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("[paths]\ngpfs = 'raw'\nhome = 'raw'\n", "paths.home"),
        ("[paths]\ngpfs = 'raw'\nhome = 'raw/a/../b'\n", "paths.home"),
        ("[paths]\nhome = 'link/home'\n[watch]\nroots = ['real']\n", "paths.home"),
        ("[paths]\nstate = 'elcano-data/gpfs/state'\n", "paths.state"),
        ("[[session]]\ndirectory = '.'\n[paths]\nhome = 'home'\n", "paths.home"),
        ("[paths]\ngpfs = 'raw'\nhome = 'raw/b'\n[watch]\npoll_min_s = 0\n", "paths.home"),
    ],
)
def test_results_and_state_may_not_lie_under_a_watched_place(tmp_path: Path, text: str, key: str) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert key in problems(tmp_path, text)


def test_a_name_that_only_begins_like_a_root_is_not_under_it(tmp_path: Path) -> None:
    assert load(tmp_path, "[paths]\ngpfs = 'raw'\nhome = 'raw-home'\n").paths.home == tmp_path / "raw-home"


def test_gpfs_is_free_when_other_roots_are_watched(tmp_path: Path) -> None:
    assert load(tmp_path, "[paths]\ngpfs = 'g'\nhome = 'g/home'\n[watch]\nroots = ['w']\n").watched_roots == (
        tmp_path / "w",
    )


def test_keys_that_need_each_other(tmp_path: Path) -> None:
    told = problems(tmp_path, "[watch]\npoll_min_s = 10\npoll_max_s = 5\n[bus]\ncredentials = 'x.creds'\n")
    assert told == {
        "watch.poll_max_s": "5 is less than watch.poll_min_s (takes a number from poll_min_s = 10 s on)",
        "bus.credentials": "has no effect without bus.url (set bus.url or remove it)",
    }


def test_a_password_in_a_url_is_not_told(tmp_path: Path) -> None:
    told = problems(tmp_path, "[bus]\nurl = 'http://daemon:secret@nats'\n")
    assert "secret" not in str(told)
    assert "***@nats" in told["bus.url"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[watch]\npoll_min_s = = 2\n", "line 2"),
        (b"[watch]\npattern = '\xff'\n", "line 2"),
        (b"x = " + b"[" * 5000 + b"]" * 5000, "nested too deeply"),
    ],
)
def test_unreadable_toml_names_the_line(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigurationInvalid, match=said):
        load_settings(path, STAGES, ENVIRON)


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationInvalid, match=r"cannot be read: No such file"):
        load_settings(tmp_path / "none.toml", STAGES, ENVIRON)


def test_sections_of_the_wrong_kind(tmp_path: Path) -> None:
    told = problems(tmp_path, "paths = 3\nsession = 4\nwatch = [1]\n", {"ELCANO__PATHS__GPFS": "/x"})
    assert "paths is not a table" in told["ELCANO__PATHS__GPFS"]
    assert told["paths"] == "3 is not allowed (takes a table)"
    assert told["session"] == "4 is not allowed (takes a list of tables)"
    assert told["watch"] == "[1] is not allowed (takes a table)"


@pytest.mark.parametrize(
    ("environ", "state"),
    [
        ({"STATE_DIRECTORY": "/var/lib/elcano:/var/lib/other", "XDG_STATE_HOME": "/xdg"}, "/var/lib/elcano"),
        ({"XDG_STATE_HOME": "/xdg"}, "/xdg/elcano"),
        ({"HOME": "/h"}, "/h/.local/state/elcano"),
        ({"ELCANO__PATHS__STATE": "/mine", "STATE_DIRECTORY": "/var/lib/elcano"}, "/mine"),
    ],
)
def test_where_the_state_goes(environ: dict[str, str], state: str) -> None:
    assert load_settings(None, STAGES, environ).state == Path(state)


def test_settings_cannot_be_changed(tmp_path: Path) -> None:
    settings = load(tmp_path, "")
    with pytest.raises(ValueError, match="frozen"):
        settings.watch.poll_min_s = 3.0  # type: ignore[misc]


def test_a_stage_may_not_take_the_name_of_its_switch() -> None:
    class Clashing(BaseModel):
        enabled: bool = True

    with pytest.raises(ValueError, match="enabled"):
        settings_model({"x": Clashing})


def test_settling_is_configured_by_the_names_and_defaults_of_its_rule() -> None:
    rule = SettleRule()
    for name, value in SettleSettings():
        assert getattr(rule, name) == value, name


def test_credentials_that_the_service_manager_passes_are_used_where_none_are_named(tmp_path: Path) -> None:
    passed = tmp_path / "credentials"
    passed.mkdir()
    (passed / "nats.creds").write_text("SU…")
    (passed / "other").write_text("not for us")
    config = tmp_path / "config.toml"
    environ = {"HOME": "/h", "CREDENTIALS_DIRECTORY": str(passed)}

    def credentials(text: str, environ: dict[str, str] = environ) -> Path | None:
        config.write_text(text)
        return load_settings(config, {}, environ).bus.credentials

    assert credentials("[bus]\nurl = 'nats://a:4222'\n") == passed / "nats.creds"
    assert credentials("[bus]\nurl = 'nats://a:4222'\ncredentials = '/etc/own.creds'\n") == Path("/etc/own.creds")
    assert credentials("") is None
    assert credentials("", environ | {"ELCANO__BUS__URL": "nats://a:4222"}) == passed / "nats.creds"
    (passed / "nats.creds").unlink()
    assert credentials("[bus]\nurl = 'nats://a:4222'\n") is None
    assert credentials("[bus]\nurl = 'nats://a:4222'\n", {"HOME": "/h"}) is None


def test_where_the_terminal_in_a_browser_may_listen(tmp_path: Path) -> None:
    assert load(tmp_path, "").web.addresses == ()
    assert load(tmp_path, "[web]\naddresses = ['10.1.2.3', 'fe80::1']\n").web.addresses == ("10.1.2.3", "fe80::1")
    found = problems(tmp_path, "[web]\naddresses = ['0.0.0.0.1']\n")
    assert "is not an IP address" in found["web.addresses"]
    assert [is_loopback(each) for each in ("127.0.0.1", "127.8.0.1", "::1", "10.1.2.3", "0.0.0.0", "host")] == [
        True,
        True,
        True,
        False,
        False,
        False,
    ]


def test_a_root_that_a_session_entry_names_is_a_session(tmp_path: Path) -> None:
    settings = load(tmp_path, "[watch]\nroots = ['a', 'b']\n[[session]]\ndirectory = 'b'\n")
    assert settings.session_holders == (tmp_path / "a",)
