"""Every key of config.toml: its type, bounds, unit and meaning.

Sections are frozen pydantic models; loader.py fills them, reference.py prints them. What a stage
takes under `[stages.<name>]` is not known here: each stage brings its own model.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, ValidationInfo

from daemon.config.acquisition import AcquisitionSettings
from daemon.config.gates import GateSettings
from daemon.config.places import REAL_PLACES
from daemon.config.report import ReportSettings
from daemon.config.web import WebSettings

URL_SCHEMES = ("nats", "tls", "ws", "wss")
SLOWEST_PACE_MIB_PER_S = 10.0
_FASTEST_PACE_MIB_PER_S = 1048576.0
LIVE: dict[str, JsonValue] = {"live": True}
"""Marks a key that a running daemon takes over when config.toml is read again; see daemon.config.changes."""


class Section(BaseModel):
    """Base of every section: frozen, no unknown keys, no infinities."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def _anchor(path: Path, info: ValidationInfo) -> Path:
    """Make a path absolute: `~` is the user's home, anything relative starts at the configuration file."""
    if "\0" in str(path):
        raise ValueError("a path cannot contain a zero byte")
    base: Path = (info.context or {}).get("base") or Path.cwd()
    anchored = base / path.expanduser()
    return REAL_PLACES.real_path(anchored) if ".." in anchored.parts else anchored


AnchoredPath = Annotated[Path, AfterValidator(_anchor)]


class PathsSettings(Section):
    """Where raw data come in, where results go, where the daemon keeps its own state.

    Relative paths, here and everywhere in this file, start at the folder that holds this file.
    """

    gpfs: AnchoredPath = Field(
        default="elcano-data/gpfs",
        validate_default=True,
        description="Shared file system with one folder for each session, written by the microscope. Elcano only "
        "reads there. The variable MAGELLON_GPFS_PATH overrides it.",
    )
    home: AnchoredPath = Field(
        default="elcano-data/home",
        validate_default=True,
        description="Results go to <home>/<session>/<category>/. Must not lie under a watched root. The variable "
        "MAGELLON_HOME_PATH overrides it.",
    )
    state: AnchoredPath | None = Field(
        default=None,
        examples=["/var/lib/elcano"],
        description="The daemon's database and message store, on a local disk. Unset: $STATE_DIRECTORY (systemd), "
        "else $XDG_STATE_HOME/elcano, else ~/.local/state/elcano.",
    )


def _check_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in URL_SCHEMES or not parts.hostname:
        raise ValueError(f"must look like nats://host:4222 (schemes: {', '.join(URL_SCHEMES)})")
    if parts.port is not None and not 1 <= parts.port <= 65535:
        raise ValueError("the port must be from 1 to 65535")
    return url


class BusSettings(Section):
    """NATS, over which everything is told and commands arrive."""

    url: Annotated[str, AfterValidator(_check_url)] | None = Field(
        default=None,
        examples=["nats://nats.example.org:4222"],
        description="Server to connect to. Unset: the daemon starts its own on 127.0.0.1.",
    )
    instance: str = Field(
        default="main",
        pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$",
        json_schema_extra={"takes": "up to 32 small letters, digits, - and _"},
        description="Name of this daemon; keeps several daemons on one server apart.",
    )
    prefix: str = Field(
        default="magellon",
        pattern=r"^[A-Za-z0-9_-]{1,32}(\.[A-Za-z0-9_-]{1,32}){0,3}$",
        json_schema_extra={"takes": "letters, digits, - and _; dots between tokens"},
        description="First token of the subjects of events; the default lets Magellon's subscribers go on working.",
    )
    credentials: AnchoredPath | None = Field(
        default=None,
        examples=["/etc/elcano/nats.creds"],
        description="NATS credentials file (.creds) for `url`. Unset: nats.creds of $CREDENTIALS_DIRECTORY (systemd), "
        "where there is one.",
    )


class StoreSettings(Section):
    """The database that remembers every movie, task and result."""

    snapshot_interval_s: float = Field(
        default=60.0,
        ge=5,
        le=86400,
        json_schema_extra=LIVE,
        description="How often <home>/<session>/tables/*.parquet are refreshed.",
    )


class SettleSettings(Section):
    """When a movie's file is believed to be complete, and when one that never becomes so is given up."""

    min_quiet_s: float = Field(
        default=5.0, ge=0, le=3600, description="A file must not have changed for this long, whatever its bytes say."
    )
    stable_polls: int = Field(
        default=2, ge=2, le=100, description="Size and time of change must be the same in this many looks in a row."
    )
    unknown_count_wait_s: float = Field(
        default=15.0,
        ge=0,
        le=86400,
        description="Quiet time asked instead while nobody knows how many frames to expect.",
    )
    short_count_wait_s: float = Field(
        default=120.0,
        ge=0,
        le=86400,
        description="Quiet time asked while frames are missing: a TIFF written in place is valid after every frame.",
    )
    zero_tail_wait_s: float = Field(
        default=20.0,
        ge=0,
        le=86400,
        description="Quiet time asked when the last rows are zeros: sparse counting data may end so, a copy does.",
    )
    blank_frames_wait_s: float = Field(
        default=300.0, ge=0, le=86400, description="Quiet time asked when the last frames are blank."
    )
    give_up_s: float = Field(
        default=1800.0,
        ge=10,
        le=604800,
        description="A file that is still not whole after this long without a change is quarantined, with the reason.",
    )
    min_frames: int = Field(
        default=2, ge=1, le=10000, description="A file with fewer frames is an image, not a movie, and is left alone."
    )


class WatchSettings(Section):
    """How new movies are noticed."""

    roots: tuple[AnchoredPath, ...] = Field(
        default=(),
        description="Folders whose sub-folders are sessions. Empty: [paths] gpfs alone. Nothing outside these roots, "
        "[paths] gpfs and the directories of [[session]] entries is ever read.",
    )
    pattern: str = Field(
        default="*",
        min_length=1,
        max_length=255,
        description="Which files (of .eer .tiff .tif .mrc .mrcs) are movies: a pattern such as *_fractions.tiff for "
        "the file's name or, with a /, for its path inside the session directory.",
    )
    poll_min_s: float = Field(default=1.0, ge=0.1, le=60, description="Time between looks while movies arrive.")
    poll_max_s: float = Field(default=5.0, ge=0.1, le=3600, description="Time between looks while nothing happens.")
    rescan_s: float = Field(
        default=300.0,
        ge=5,
        le=86400,
        description="How often all names are read anew, against file systems that miss a directory's change.",
    )
    leave_tilt_series: bool = Field(
        default=True,
        description="Leave tilt series and diffraction alone, which their names tell; a session with a movie_pattern "
        "of its own says itself which files are its movies.",
    )
    hints: bool = Field(
        default=True,
        description="Let the kernel wake the watcher on local disks; network file systems are always polled.",
    )
    order: Literal["normal", "oldest", "latest", "alternate"] = Field(
        default="normal",
        description="Which movie of a backlog is next: normal = as they became complete, oldest or latest by the time "
        "of their last write, alternate = latest and oldest in turn.",
    )
    settle: SettleSettings = Field(default=SettleSettings(), description="See [watch.settle].")


class ComputeSettings(Section):
    """What the computation may use."""

    device: str = Field(
        default="auto",
        pattern=r"^(auto|cpu|cuda(:\d{1,3})?)$",
        json_schema_extra={"takes": "auto, cpu, cuda or cuda:N"},
        description="What computes; auto is a GPU when there is one.",
    )
    threads: int = Field(
        default=0,
        ge=0,
        le=512,
        description="Threads of the computation on the CPU; 0 = one for each core this process may use. Results are "
        "the same byte for byte only with the same number.",
    )
    byte_budget_gib: float = Field(
        default=8.0, ge=0.25, le=16384, description="Memory that all movies in flight may take together."
    )
    readers: int = Field(default=2, ge=1, le=64, description="Movies read and decoded at the same time.")
    writers: int = Field(default=2, ge=1, le=64, description="Movies whose results are written at the same time.")

    def thread_count(self) -> int:
        """Threads to use, with 0 replaced by the number of cores this process may run on."""
        return self.threads or len(os.sched_getaffinity(0))


class SessionEntry(Section):
    """A session named here, beside those found under the watched roots; one table for each."""

    directory: AnchoredPath = Field(
        examples=["/gpfs/24dec03a"], description="Its raw directory. May lie outside the watched roots."
    )
    name: str | None = Field(
        default=None,
        min_length=1,
        max_length=100,
        examples=["24dec03a"],
        description="Name of the session and of its folder under [paths] home. Unset: the directory's own name.",
    )
    pipeline: tuple[str, ...] | None = Field(
        default=None,
        examples=[["motion_correction", "ctf_estimation"]],
        description="Stages to run for this session. Unset: every stage that is enabled.",
    )
    acquisition: AcquisitionSettings = Field(
        default=AcquisitionSettings(),
        description="How the data were taken; wins over session.json and the movies' own headers.",
    )

    @property
    def session_name(self) -> str:
        """The given name, else the directory's."""
        return self.name or self.directory.name


class LifecycleSettings(Section):
    """When a session counts as over."""

    idle_close_s: float = Field(
        default=7200.0,
        ge=60,
        le=2592000,
        json_schema_extra=LIVE,
        description="A session without a new file for this long is closed; a late file reopens it.",
    )
    end_marker: str | None = Field(
        default=None,
        min_length=1,
        max_length=255,
        pattern=r"^[^/]+$",
        examples=["session_end"],
        description="Name of a file: when it appears in a session's raw directory, the session is closed.",
    )


class OutputSettings(Section):
    """How results are written."""

    link_frames: bool = Field(
        default=True, description="Keep symbolic links to the raw movies in <home>/<session>/frames/."
    )
    umask: str = Field(
        default="0027",
        pattern=r"^0?0[0-7]{2}$",
        json_schema_extra={"takes": 'octal digits in quotes, such as "0027"; the owner keeps all rights'},
        description="Permissions taken away from everything written, in octal: 0027 gives files 0640, folders 0750.",
    )
    group: str | None = Field(
        default=None,
        min_length=1,
        max_length=64,
        examples=["cryoem"],
        description="Group that owns everything written. Unset: the group of the process or of the parent folder.",
    )

    @property
    def umask_bits(self) -> int:
        """`umask` as a number."""
        return int(self.umask, 8)


def _check_pace(mib_per_s: float) -> float:
    if 0 < mib_per_s < SLOWEST_PACE_MIB_PER_S:
        raise ValueError(
            f"must be 0 or at least {SLOWEST_PACE_MIB_PER_S:g}: slower reading passes for a mount that hangs"
        )
    return mib_per_s


class LimitsSettings(Section):
    """What must stay free for others."""

    disk_reserve_gib: float = Field(
        default=2.0,
        ge=0,
        le=1048576,
        json_schema_extra=LIVE,
        description="No new movie is started while [paths] home has less free space than this.",
    )
    read_mib_per_s: Annotated[float, AfterValidator(_check_pace)] = Field(
        default=0.0,
        ge=0,
        le=_FASTEST_PACE_MIB_PER_S,
        json_schema_extra={
            **LIVE,
            "takes": f"0, or {SLOWEST_PACE_MIB_PER_S:.12g} to {_FASTEST_PACE_MIB_PER_S:.12g} MiB/s",
        },
        description="Files are read no faster than this, all readers together, so that the camera's writing is never "
        "slowed. 0 = as fast as it goes.",
    )


class LogSettings(Section):
    """The daemon's log, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", json_schema_extra=LIVE, description="The least serious message that is written."
    )
    format: Literal["auto", "json", "console"] = Field(
        default="auto", description="console for people, json for machines, auto = console on a terminal, else json."
    )


@dataclass(frozen=True)
class StageSettings:
    """One `[stages.<name>]` section: whether the stage runs, and its own parameters."""

    enabled: bool
    params: BaseModel


@dataclass(frozen=True)
class Settings:
    """The whole configuration, checked; every path absolute."""

    source: Path | None
    """The file it was read from."""
    paths: PathsSettings
    state: Path
    bus: BusSettings
    store: StoreSettings
    watch: WatchSettings
    compute: ComputeSettings
    stages: Mapping[str, StageSettings]
    sessions: tuple[SessionEntry, ...]
    """The `[[session]]` entries."""
    gates: GateSettings
    lifecycle: LifecycleSettings
    output: OutputSettings
    limits: LimitsSettings
    report: ReportSettings
    log: LogSettings
    web: WebSettings

    @property
    def store_path(self) -> Path:
        """The daemon's database."""
        return self.state / "elcano.duckdb"

    @property
    def watched_roots(self) -> tuple[Path, ...]:
        """Folders whose sub-folders are sessions."""
        return self.watch.roots or (self.paths.gpfs,)

    @property
    def session_holders(self) -> tuple[Path, ...]:
        """The watched roots that are no sessions themselves: no [[session]] names them, nor a folder above them."""
        named = [entry.directory for entry in self.sessions]
        return tuple(root for root in self.watched_roots if not any(root.is_relative_to(each) for each in named))

    @property
    def allowed_roots(self) -> tuple[Path, ...]:
        """Folders that raw data, gains and sessions named by others may lie in."""
        named = (entry.directory for entry in self.sessions)
        return tuple(dict.fromkeys((*self.watched_roots, self.paths.gpfs, *named)))
