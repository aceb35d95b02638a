"""A movie: a file's identity, what its header says, and its row in the ledger."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from daemon.domain.states import MovieState


class MovieFormat(StrEnum):
    """Container of the frames; decides orientation and gain rules."""

    MRC = "mrc"
    TIFF = "tiff"
    EER = "eer"


MOVIE_SUFFIXES: dict[str, MovieFormat] = {
    ".eer": MovieFormat.EER,
    ".tiff": MovieFormat.TIFF,
    ".tif": MovieFormat.TIFF,
    ".mrc": MovieFormat.MRC,
    ".mrcs": MovieFormat.MRC,
}
"""Known movie suffixes, in the order in which one stem's files are preferred."""


@dataclass(frozen=True)
class FileIdentity:
    """What tells one revision of a file from another."""

    path: Path
    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True)
class MovieHeader:
    """What a movie's own header says; no pixel has been read.

    `frame_count` counts the frames stored in the file (hardware frames for EER). `pixel_size_ang`
    is None where the header does not know it. `data_bytes` is the decoded size of all stored frames
    in their own integer type (for EER: of one frame). Voltage, and dose of the whole movie (e⁻ per stored
    pixel), are None where the header does not know them. `file` is the file that was read, where the header comes from
    one.
    """

    path: Path
    format: MovieFormat
    width_px: int
    height_px: int
    frame_count: int
    dtype: str
    pixel_size_ang: float | None
    data_bytes: int
    total_dose_e_per_px: float | None = None
    voltage_kv: float | None = None
    file: FileIdentity | None = None

    @property
    def shape_yx(self) -> tuple[int, int]:
        """Rows and columns of one frame."""
        return self.height_px, self.width_px


@dataclass(frozen=True)
class LedgerEntry:
    """One revision of one file, as the ledger keeps it."""

    movie_id: str
    session_id: str
    identity: FileIdentity
    revision: int
    state: MovieState
    reason: str
    image_id: str | None
    seen_at_s: float
    last_write_s: float
