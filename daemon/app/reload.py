"""config.toml read again while the daemon runs: checked whole, compared, and what can change live is applied."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import anyio.to_thread
import structlog
from pydantic import BaseModel

from daemon.config.changes import Changes, KeyChange, adopt, compare
from daemon.config.gates import GateSettings
from daemon.config.schema import SessionEntry, Settings
from daemon.domain.identity import stable_id
from daemon.engine.engine import Engine
from daemon.engine.housekeeping import Housekeeping
from daemon.errors import ConfigurationInvalid, ElcanoError, StoreUnavailable
from daemon.formats.pace import READ_PACE
from daemon.store.changes import PutNotification, Severity
from daemon.store.store import Store

log = structlog.get_logger(__name__)

_WHY = "config.toml was read again"


ApplyKey = Callable[[Settings], None]
"""Lets a running part have what the settings say now."""


class SetParameters(Protocol):
    """Gives a stage new parameters from the next movie on."""

    async def __call__(self, stage: str, params: BaseModel, *, asked_by: str, cause: str) -> None:
        """Raises ElcanoError when the stage cannot take them."""
        ...


class Reload:
    """The configuration of a running daemon, and how it becomes another one."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        *,
        read: Callable[[], Settings],
        apply: Mapping[str, ApplyKey],
        set_parameters: SetParameters,
        take_entries: Callable[[Settings, Sequence[SessionEntry]], None],
        clock_s: Callable[[], float] = time.time,
    ) -> None:
        """`read` gives the new settings or raises ConfigurationInvalid; `apply` has every live key outside stages.

        `take_entries` gets the settings that hold from now on and the `[[session]]` entries to import.
        """
        self.settings = settings
        self._store = store
        self._read = read
        self._apply = apply
        self._set_parameters = set_parameters
        self._take_entries = take_entries
        self._clock_s = clock_s
        self._one_at_a_time = anyio.Lock()

    async def run(self, asked_by: str) -> None:
        """Read, compare, apply, and tell people; a configuration with any mistake in it changes nothing."""
        async with self._one_at_a_time:
            try:
                wanted = await anyio.to_thread.run_sync(self._read)
            except ConfigurationInvalid as error:
                await self._tell_refused(error, asked_by)
                return
            changes = await anyio.to_thread.run_sync(compare, self.settings, wanted)
            troubles = await self._set_stages(changes, wanted, asked_by)
            self.settings = adopt(self.settings, wanted, keep_stages=troubles.keys())
            for change in changes.live:
                if change.place[0] != "stages":
                    self._apply[change.key](self.settings)
            self._take_entries(self.settings, changes.entries)
            await self._tell_taken(changes, troubles, asked_by)

    async def _set_stages(self, changes: Changes, wanted: Settings, asked_by: str) -> dict[str, str]:
        """Give the stages their parameters; return what went wrong, by stage."""
        troubles: dict[str, str] = {}
        for stage in dict.fromkeys(str(change.place[1]) for change in changes.live if change.place[0] == "stages"):
            if not self.settings.stages[stage].enabled:
                continue  # nobody runs with them now; they hold once it is enabled
            try:
                await self._set_parameters(stage, wanted.stages[stage].params, asked_by=asked_by, cause=_WHY)
            except StoreUnavailable:
                raise
            except ElcanoError as error:
                troubles[stage] = str(error)
        return troubles

    async def _tell_taken(self, changes: Changes, troubles: Mapping[str, str], asked_by: str) -> None:
        taken = [str(change) for change in changes.live if not _is_refused(change, troubles)]
        taken += [f"session {entry.session_name}: imported" for entry in changes.entries]
        waiting = [str(change) for change in changes.waiting]
        log.info("configuration read again", asked_by=asked_by, applied=taken)
        for change in changes.waiting:
            log.warning("needs a restart", key=change.key, running=change.old, file=change.new)
        for entry in changes.dropped:
            log.info("session entry is gone; its session goes on", session=entry.session_name)
        for stage, why in troubles.items():
            log.error("parameters not taken over", stage=stage, reason=why)
        parts = [f"now {'; '.join(taken)}" if taken else "nothing changed"]
        parts += [f"after a restart {'; '.join(waiting)}"] if waiting else []
        parts += [f"{stage} refused its parameters: {why}" for stage, why in troubles.items()]
        severity: Severity = "error" if troubles else "warning" if waiting else "info"
        hint = "Restart the daemon for what waits." if waiting else ""
        await self._notify(severity, "configuration_reloaded", f"{_WHY} ({asked_by}): {'. '.join(parts)}.", hint)

    async def _tell_refused(self, error: ConfigurationInvalid, asked_by: str) -> None:
        log.error("configuration not taken over; the one before holds", asked_by=asked_by, reason=str(error))
        hint = "Mend the file (`elcano config check`) and reload again."
        await self._notify("error", "configuration_refused", f"{_WHY} ({asked_by}), nothing changed. {error}", hint)

    async def _notify(self, severity: Severity, kind: str, message: str, hint: str) -> None:
        at_s = self._clock_s()
        await self._store.commit(PutNotification(stable_id(kind, repr(at_s)), severity, kind, message, hint, at_s=at_s))


def live_keys(engine: Engine, housekeeping: Housekeeping) -> dict[str, ApplyKey]:
    """Return how each key that the schema marks as live, but for those of stages, comes to hold."""

    def configure_gates(settings: Settings) -> None:
        engine.gatekeeper.configure(settings.gates.limits)

    def keep_times(settings: Settings) -> None:
        housekeeping.idle_close_s = settings.lifecycle.idle_close_s
        housekeeping.snapshot_interval_s = settings.store.snapshot_interval_s

    return {
        "log.level": lambda settings: logging.getLogger().setLevel(settings.log.level.upper()),
        "limits.read_mib_per_s": lambda settings: READ_PACE.limit(settings.limits.read_mib_per_s * 2**20),
        "limits.disk_reserve_gib": lambda settings: engine.room.keep(int(settings.limits.disk_reserve_gib * 2**30)),
        "lifecycle.idle_close_s": keep_times,
        "store.snapshot_interval_s": keep_times,
        **{f"gates.{gate}": configure_gates for gate in GateSettings.model_fields},
    }


def _is_refused(change: KeyChange, troubles: Mapping[str, str]) -> bool:
    return change.place[0] == "stages" and str(change.place[1]) in troubles
