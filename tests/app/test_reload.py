"""The configuration of a running daemon: file, store and comparison are real, the parts it reaches are stand-ins."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, Field

from daemon.app.reload import ApplyKey, Reload
from daemon.config.loader import load_settings
from daemon.config.schema import SessionEntry, Settings, StageSettings
from daemon.errors import CommandRefused
from daemon.store import sessions
from daemon.store.changes import PutNotification
from daemon.store.store import Store

pytestmark = pytest.mark.anyio


class Params(BaseModel):
    """Make a picture."""

    height_px: int = Field(default=494, ge=16, le=8192, description="Height of the picture.")


class Bench:
    """A file, a store, and what a reload did to the daemon's parts."""

    def __init__(self, folder: Path) -> None:
        self.config = folder / "config.toml"
        self.config.write_text("", encoding="utf-8")
        self.store = Store.open(folder / "elcano.duckdb")
        self.applied: dict[str, Any] = {}
        self.parameters: list[tuple[str, BaseModel, str]] = []
        self.imported: list[str] = []
        self.refuses: str | None = None
        self.reload = Reload(
            self.read(),
            self.store,
            read=self.read,
            apply={key: self._setter(key) for key in ("log.level", "limits.disk_reserve_gib")},
            set_parameters=self._set_parameters,
            take_entries=self._take_entries,
        )

    def read(self) -> Settings:
        return load_settings(self.config, {"thumbnail": Params, "fft": Params}, {"HOME": "/h"})

    async def change(self, text: str) -> PutNotification:
        """Write the file, reload, and return what people are told."""
        self.config.write_text(text, encoding="utf-8")
        before = {known.notification_id for known in await sessions.notifications(self.store)}
        await self.reload.run("SIGHUP")
        (told,) = [known for known in await sessions.notifications(self.store) if known.notification_id not in before]
        return told

    def _setter(self, key: str) -> ApplyKey:
        section, name = key.split(".")
        return lambda settings: self.applied.__setitem__(key, getattr(getattr(settings, section), name))

    async def _set_parameters(self, stage: str, params: BaseModel, *, asked_by: str, cause: str) -> None:
        if self.refuses == stage:
            raise CommandRefused("That does not go together.")
        self.parameters.append((stage, params, asked_by))
        assert cause

    def _take_entries(self, settings: Settings, entries: Sequence[SessionEntry]) -> None:
        self.imported += [entry.session_name for entry in entries]
        assert settings is self.reload.settings


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.store.close()


async def test_what_can_change_live_is_applied_and_the_rest_is_named(bench: Bench) -> None:
    told = await bench.change(
        "[log]\nlevel = 'debug'\n[compute]\nreaders = 7\n[stages.thumbnail]\nheight_px = 256\n"
        "[[session]]\ndirectory = '/raw/a'\n"
    )
    assert bench.applied == {"log.level": "debug"}
    assert bench.parameters == [("thumbnail", Params(height_px=256), "SIGHUP")]
    assert bench.imported == ["a"]
    assert (told.severity, told.kind) == ("warning", "configuration_reloaded")
    assert told.message == (
        'config.toml was read again (SIGHUP): now log.level: "info" -> "debug"; '
        "stages.thumbnail.height_px: 494 -> 256; session a: imported. after a restart compute.readers: 2 -> 7."
    )
    assert told.hint


async def test_a_file_with_a_mistake_changes_nothing_and_every_mistake_is_told(bench: Bench) -> None:
    before = bench.reload.settings
    told = await bench.change("[log]\nlevel = 'loud'\n[limits]\ndisk_reserve_gib = 9\n[watch]\npoll_min = 3\n")
    assert (told.severity, told.kind) == ("error", "configuration_refused")
    for words in ('log.level: "loud" is not allowed', "watch.poll_min: unknown key", "nothing changed", "SIGHUP"):
        assert words in told.message
    assert (bench.applied, bench.parameters, bench.imported) == ({}, [], [])
    assert bench.reload.settings is before


async def test_a_file_that_is_gone_changes_nothing(bench: Bench) -> None:
    bench.config.unlink()
    await bench.reload.run("SIGHUP")
    (told,) = await sessions.notifications(bench.store)
    assert told.kind == "configuration_refused"
    assert "cannot be read" in told.message


async def test_what_was_applied_is_not_applied_again_and_what_waits_is_told_again(bench: Bench) -> None:
    text = "[limits]\ndisk_reserve_gib = 9\n[compute]\nreaders = 7\n"
    await bench.change(text)
    bench.applied.clear()
    told = await bench.change(text)
    assert bench.applied == {}
    assert told.message == (
        "config.toml was read again (SIGHUP): nothing changed. after a restart compute.readers: 2 -> 7."
    )
    told = await bench.change("[limits]\ndisk_reserve_gib = 9\n")
    assert (told.severity, told.message) == ("info", "config.toml was read again (SIGHUP): nothing changed.")


async def test_a_stage_that_refuses_its_parameters_keeps_the_old_ones_and_the_others_get_theirs(bench: Bench) -> None:
    bench.refuses = "fft"
    told = await bench.change("[stages.fft]\nheight_px = 64\n[stages.thumbnail]\nheight_px = 64\n")
    assert bench.parameters == [("thumbnail", Params(height_px=64), "SIGHUP")]
    assert told.severity == "error"
    assert "fft refused its parameters: That does not go together." in told.message
    assert bench.reload.settings.stages["fft"].params == Params()
    bench.refuses = None
    told = await bench.change("[stages.fft]\nheight_px = 64\n[stages.thumbnail]\nheight_px = 64\n")
    assert bench.parameters[1:] == [("fft", Params(height_px=64), "SIGHUP")]


async def test_parameters_of_a_stage_that_does_not_run_wait_with_it(bench: Bench) -> None:
    bench.reload.settings = replace(
        bench.reload.settings, stages={**bench.reload.settings.stages, "fft": StageSettings(False, Params())}
    )
    bench.refuses = "fft"
    told = await bench.change("[stages.fft]\nenabled = false\nheight_px = 64\n")
    assert (told.severity, bench.parameters) == ("info", [])
    assert bench.reload.settings.stages["fft"] == StageSettings(False, Params(height_px=64))
