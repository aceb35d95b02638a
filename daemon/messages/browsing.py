"""Finding a session to import: folders as the daemon sees them, and what a session there would be taken as."""

from typing import Annotated

import msgspec

from daemon.messages.arguments import Arguments

MOST_ENTRIES = 100
"""Folders in one answer: each of them is looked at."""

FolderLimit = Annotated[int, msgspec.Meta(ge=1, le=MOST_ENTRIES)]
Offset = Annotated[int, msgspec.Meta(ge=0, le=10_000_000)]


class FolderQuery(Arguments, frozen=True, kw_only=True):
    """The folders in a directory under the roots, by name; none named: the roots themselves."""

    directory: str | None = None
    offset: Offset = 0
    limit: FolderLimit = MOST_ENTRIES


class PreviewQuery(Arguments, frozen=True, kw_only=True):
    """What the session in a directory would be taken as, were it imported now, under `name` if given."""

    directory: str
    name: str | None = None


class FolderEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One folder; `trouble` says why it cannot be opened, empty where it can."""

    name: str
    path: str
    has_manifest: bool = False
    """Whether a session.json lies in it."""
    holds_sessions: bool = False
    """Whether it is a watched root, or above one: the folders in it are the sessions."""
    passed_over: bool = False
    """Whether it holds movies and belongs to no session: nobody processes them."""
    session: str = ""
    """Name of the session that it was imported as, empty where it was not…"""
    session_state: str = ""
    """…and whether that is open or closed."""
    trouble: str = ""


class FolderAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What is in a directory; `total` counts its folders, of which `entries` are those from `offset` on."""

    directory: str
    """Links followed; empty for the list of roots."""
    parent: str | None
    """None where the list of roots is above."""
    entries: list[FolderEntry]
    offset: int
    total: int
    movies: int
    """Files in it that are movies by their names…"""
    others: int
    """…and other files."""
    has_manifest: bool
    holds_sessions: bool
    """Whether it is a watched root, or above one: the folders in it are the sessions."""
    is_whole: bool
    """False where there was too much in it to read all."""


class PreviewValue(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """One thing known of how a session was taken: its key, in words with unit, and who says so."""

    key: str
    said: str
    source: str


class MovieCount(msgspec.Struct, frozen=True, kw_only=True):
    """Movies found in a directory and its folders so far; `is_whole` is False where the search was cut short."""

    movies: int
    suffixes: dict[str, int]
    first: str
    is_whole: bool
    troubles: list[str]


class PreviewAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What an import would do; nothing was changed."""

    directory: str
    name: str
    home: str
    """Where results would go."""
    refusal: str
    """Why an import would be refused, with what to do; empty where it would not."""
    session_state: str
    """Of a session that is imported already: open or closed; else empty."""
    job_id: str
    has_manifest: bool
    description: str
    project: str
    images: int
    """Images that session.json names…"""
    levels: dict[str, int]
    """…by what they show: grids, squares, holes, exposures."""
    values: list[PreviewValue]
    missing: list[str]
    """What steps need and nobody has said; of the pixel size and the voltage, movies' headers may."""
    warnings: list[str]
    stages: list[str]
    movies: MovieCount
