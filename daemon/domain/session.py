"""Sessions and their images."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from daemon.domain.acquisition import Acquisition
from daemon.domain.states import SessionState


@dataclass(frozen=True)
class Session:
    """One microscope session: where its raw data are, where its results go, how it was taken."""

    session_id: str
    name: str
    raw_directory: Path
    home: Path
    acquisition: Acquisition
    state: SessionState = SessionState.OPEN
    former_directories: tuple[Path, ...] = ()
    """Where its raw data were before they were moved, oldest first."""


@dataclass(frozen=True)
class ImageRecord:
    """One node of the grid → square → hole → exposure tree; `name` is unique in its session."""

    image_id: str
    session_id: str
    name: str
    parent_id: str | None
    level: int | None
    acquisition: Acquisition
    frame_name: str | None = None
    manifest: Mapping[str, Any] = field(default_factory=dict)
