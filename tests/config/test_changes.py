from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import BaseModel, Field

from daemon.config.changes import adopt, compare
from daemon.config.loader import load_settings
from daemon.config.schema import Settings

Load = Callable[[str], Settings]


class Params(BaseModel):
    """Make a picture."""

    height_px: int = Field(default=494, ge=16, le=8192, description="Height of the picture.")
    quality: int = Field(default=90, ge=1, le=95, description="How good it is.")


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Read a configuration of these lines."""

    def read(text: str) -> Settings:
        path = tmp_path / "config.toml"
        path.write_text(text, encoding="utf-8")
        return load_settings(path, {"thumbnail": Params}, {"HOME": "/h"})

    return read


def test_the_same_file_changes_nothing(load: Load) -> None:
    changes = compare(load("[[session]]\ndirectory = '/raw/a'\n"), load("[[session]]\ndirectory = '/raw/a'\n"))
    assert (changes.keys, changes.entries, changes.dropped) == ((), (), ())


def test_what_changes_is_told_with_both_values_and_whether_it_waits(load: Load) -> None:
    before = load("[watch]\npattern = '*.eer'\n[bus]\nurl = 'nats://me:secret@a:4222'\n")
    after = load(
        "[watch.settle]\nmin_quiet_s = 7\n[bus]\nurl = 'nats://me:other@b:4222'\n[log]\nlevel = 'debug'\n"
        "[stages.thumbnail]\nenabled = false\nheight_px = 256\n[paths]\nhome = '/elsewhere'\n[output]\ngroup = 'root'\n"
    )
    changes = compare(before, after)
    assert {str(change) for change in changes.live} == {
        'log.level: "info" -> "debug"',
        "stages.thumbnail.height_px: 494 -> 256",
    }
    home = before.paths.home
    assert {str(change) for change in changes.waiting} == {
        'watch.pattern: "*.eer" -> "*"',
        "watch.settle.min_quiet_s: 5.0 -> 7.0",
        'bus.url: "nats://***@a:4222" -> "nats://***@b:4222"',
        "stages.thumbnail.enabled: true -> false",
        f'paths.home: "{home}" -> "/elsewhere"',
        'output.group: unset -> "root"',
    }


def test_what_is_adopted_is_what_changes_live_and_nothing_else(load: Load) -> None:
    before = load("")
    after = load(
        "[watch]\npattern = '*.eer'\n[limits]\ndisk_reserve_gib = 5\n[stages.thumbnail]\nenabled = false\n"
        "height_px = 256\n[[session]]\ndirectory = '/raw/a'\n"
    )
    now = adopt(before, after)
    assert now.limits.disk_reserve_gib == 5
    assert now.watch == before.watch
    assert now.stages["thumbnail"].enabled
    assert now.stages["thumbnail"].params == Params(height_px=256)
    assert now.sessions == after.sessions
    assert not compare(now, after).live
    assert {change.key for change in compare(now, after).waiting} == {"watch.pattern", "stages.thumbnail.enabled"}
    assert adopt(before, after, keep_stages={"thumbnail"}).stages["thumbnail"].params == Params()


def test_session_entries_are_compared_whole(load: Load) -> None:
    before = load(
        "[[session]]\ndirectory = '/raw/a'\n[[session]]\ndirectory = '/raw/b'\n[[session]]\ndirectory = '/raw/c'\n"
    )
    after = load(
        "[[session]]\ndirectory = '/raw/d'\n[[session]]\ndirectory = '/raw/c'\n"
        "[[session]]\ndirectory = '/raw/b'\nacquisition = {voltage_kv = 200}\n"
    )
    changes = compare(before, after)
    assert changes.keys == ()
    assert [entry.session_name for entry in changes.entries] == ["d", "b"]
    assert [entry.session_name for entry in changes.dropped] == ["a"]
