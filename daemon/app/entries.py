"""The `[[session]]` entries of the configuration: which one says how the session in a directory was taken.

An entry names the place where a session was first: it holds for the session also where that was moved to, until an
entry names its new place.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import structlog

from daemon.app.directories import Directories
from daemon.app.parameters import stage_parameters
from daemon.config.loader import load_settings
from daemon.config.schema import SessionEntry, Settings
from daemon.errors import ConfigurationInvalid, FileUnanswered
from daemon.sessions.importing import ImportRequest
from daemon.store import sessions
from daemon.store.store import Store

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class FoundEntry:
    """An entry, and whether it names the very place that was asked for."""

    entry: SessionEntry
    is_of_this_place: bool


async def find_entry(
    entries: Sequence[SessionEntry], directory: Path, store: Store, directories: Directories
) -> FoundEntry | None:
    """Return what the configuration says of the session in a directory, None when it says nothing."""
    real = await directories.real_paths([directory, *(entry.directory for entry in entries)])
    for entry in entries:
        if real[entry.directory] == real[directory]:
            return FoundEntry(entry, is_of_this_place=True)
    known = await sessions.sessions(store)
    former = next((row.session.former_directories for row in known if row.session.raw_directory == real[directory]), ())
    for place in reversed(former):
        for entry in entries:
            if place in {entry.directory, real[entry.directory]}:
                return FoundEntry(entry, is_of_this_place=False)
    return None


async def request_for(
    settings: Settings, stages: tuple[str, ...], store: Store, directories: Directories, asked: ImportRequest
) -> ImportRequest:
    """Return the request for a directory, of these stages, with what a `[[session]]` entry says about it."""
    found = await find_entry(settings.sessions, asked.directory, store, directories)
    if found is None:
        return replace(asked, acquisition=None, stages=stages)
    entry = found.entry
    chosen = stages if entry.pipeline is None else tuple(stage for stage in stages if stage in entry.pipeline)
    # At its first place another session may be by now, which has that name.
    name = asked.name or (entry.name if found.is_of_this_place else None)
    return replace(asked, name=name, acquisition=entry.acquisition, stages=chosen)


async def present_place(directory: Path, store: Store, directories: Directories) -> Path:
    """Return where the session of a directory is that is gone, as it was moved; any other directory as it is."""
    real = await directories.real_path(directory)
    for row in await sessions.sessions(store):
        if {directory, real} & set(row.session.former_directories) and await directories.is_archived(directory):
            return row.session.raw_directory
    return directory


async def read_entries(settings: Settings, directories: Directories) -> Settings:
    """Return settings with the entries as they stand in the file now. Raises ConfigurationInvalid, FileUnanswered."""
    source = settings.source
    if source is None:
        return settings
    read = partial(load_settings, source, stage_parameters(), os.environ)
    fresh = await directories.calls.call(source, read)
    return replace(settings, sessions=fresh.sessions)


async def try_read_entries(settings: Settings, directories: Directories) -> Settings:
    """Likewise, where nobody would hear of a refusal: with a wrong file the entries stay as they were."""
    try:
        return await read_entries(settings, directories)
    except (ConfigurationInvalid, FileUnanswered) as error:
        log.warning("configuration not read again; the sessions it named before hold", reason=str(error))
        return settings
