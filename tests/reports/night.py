"""A made-up session in a real store: movies, numbers of every stage, verdicts, failures, acts of people, pictures."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from daemon.domain.acquisition import Acquisition
from daemon.domain.identity import canonical_json
from daemon.domain.movie import FileIdentity, LedgerEntry
from daemon.domain.session import ImageRecord, Session
from daemon.domain.states import MovieState, TaskState
from daemon.formats.jpeg import write_jpeg
from daemon.formats.png import write_png
from daemon.pipeline.gate import GATES
from daemon.stages import MOVIE_STAGES
from daemon.store.changes import (
    Change,
    CloseSession,
    EndTask,
    MoveMovie,
    NewTask,
    PutBackTasks,
    PutDecision,
    PutImages,
    PutJob,
    PutMetrics,
    PutNotification,
    PutSession,
    PutTasks,
    PutVerdict,
    SeeMovie,
    SetControl,
    StartAttempt,
)
from daemon.store.store import Store

BEGIN_S = 1_732_200_000.0
"""2024-11-21 14:40 UTC."""
METRICS = {stage.name: stage.Metrics for stage in MOVIE_STAGES}
HASH = "0123456789abcdef"
EVIL = "<img src=x onerror=alert(1)>&\"'\x1b[31m\u202e\u2028end"
"""What a name or message from outside may hold."""

MotionNumbers, CtfNumbers = METRICS["motion_correction"], METRICS["ctf_estimation"]
_EACH_S = 12.0
_LATENCY_S = 30.0


@dataclass(frozen=True)
class Night:
    """A session of `movies` movies with a gap in the middle; every tenth CTF is bad, every 25th movie fails."""

    store: Store
    home: Path
    movies: int = 60
    name: str = "24nov21a"
    session_id: str = "s1"

    @property
    def session(self) -> Session:
        return Session(self.session_id, self.name, Path("/raw") / self.name, self.home, _TAKEN)

    def begin(self) -> None:
        """Enter the session and its job."""
        self.store.commit_now(
            PutSession(self.session, at_s=BEGIN_S),
            PutJob(f"j-{self.session_id}", self.session_id, "import", at_s=BEGIN_S),
        )

    def fill(self, stages: Sequence[str] = tuple(METRICS)) -> None:
        """Enter everything, with results of these stages."""
        self.begin()
        group = {
            "width_px": 5760,
            "height_px": 4092,
            "frame_count": 40,
            "pixel_size_ang": 0.83,
            "gain_path": "/raw/g.mrc",
        }
        self.store.commit_now(
            PutDecision(self.session_id, "optics_groups", [group, {**group, "frame_count": 50}]),
            *self._said(),
            *self._left_alone(),
        )
        generator = np.random.default_rng(7)
        for begin in range(0, self.movies, 500):
            changes: list[Change] = []
            for number in range(begin, min(begin + 500, self.movies)):
                changes += self._movie(number, generator, stages)
            self.store.commit_now(*changes)

    def close(self, at_s: float = BEGIN_S + 90_000) -> None:
        """Close the session."""
        self.store.commit_now(CloseSession(self.session_id, cause="close", asked_by="maria", at_s=at_s))

    def cancel(self, number: int, stage: str, at_s: float | None = None) -> None:
        """Put a task back and cancel it."""
        task_id = f"t-{self._image_id(number)}-{stage}"
        self.store.commit_now(
            PutBackTasks((task_id,), "again", "maria", cause="reprocess", at_s=at_s),
            EndTask(task_id, TaskState.CANCELLED, cause="cancel", ended_at_s=at_s),
            MoveMovie(f"m-{self.session_id}-{number}", MovieState.COMPLETE, asked_by="maria", at_s=at_s),
            MoveMovie(f"m-{self.session_id}-{number}", MovieState.DONE, cause="cancel", at_s=at_s),
        )

    def image(self, number: int) -> str:
        """Name of an image."""
        return f"{self.name}_{number:05d}"

    def draw(self, number: int) -> None:
        """Write the pictures of an image."""
        picture = np.random.default_rng(number).integers(0, 255, (40, 40), dtype=np.uint8)
        for folder, suffix in (("thumbnails", ".jpg"), ("ctf", "_ctf.png"), ("motioncor", "_motion.png")):
            path = self.home / folder / f"{self.image(number)}{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            (write_jpeg if suffix == ".jpg" else write_png)(path, picture)

    def record(self, number: int, stage: str, parameters: dict[str, object]) -> None:
        """Write the record that a task leaves beside its results."""
        path = self.home / ".elcano" / "tasks" / stage / f"{self.image(number)}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "schema": 1,
            "session": {"id": self.session_id, "name": self.name},
            "image": {"id": self._image_id(number), "name": self.image(number)},
            "stage": {"name": stage, "version": 3},
            "elcano_version": "0.1.0",
            "parameters": parameters,
            "parameters_hash": HASH,
            "acquisition": {},
            "references": {},
            "movie": {"path": "/raw/x.tif", "size_bytes": 1, "mtime_ns": 1},
            "state": "completed",
            "outputs": [],
            "metrics": {},
            "warnings": [],
        }
        path.write_text(canonical_json(content), encoding="utf-8")

    def _image_id(self, number: int) -> str:
        return f"i-{self.session_id}-{number}"

    def written_s(self, number: int) -> float:
        """When a movie was written; half-way the microscope stood still for an hour."""
        return BEGIN_S + number * _EACH_S + (3600.0 if number >= self.movies // 2 else 0.0)

    def _said(self) -> list[Change]:
        return [
            SetControl("gates", self.session_id, None, {"ctf_resolution_ang": 6.0}, "maria", "thick ice", BEGIN_S + 60),
            PutNotification("n1", "warning", "gain_missing", f"No gain: {EVIL}", "Name one.", self.session_id, BEGIN_S),
        ]

    def _left_alone(self) -> list[Change]:
        found = [(f"ts_{number:03d}.tif", "belongs to a tilt series") for number in range(41)]
        found.append(("notes.txt", "not a movie: .txt suffix"))
        return [
            SeeMovie(
                LedgerEntry(
                    f"x-{self.session_id}-{name}", self.session_id, FileIdentity(Path("/raw") / name, 10, 1), 1,
                    MovieState.IGNORED, reason, None, BEGIN_S, BEGIN_S,
                )
            )
            for name, reason in found
        ]  # fmt: skip

    def _movie(self, number: int, generator: np.random.Generator, stages: Sequence[str]) -> list[Change]:
        movie_id, image_id = f"m-{self.session_id}-{number}", self._image_id(number)
        written_s = self.written_s(number)
        file = FileIdentity(Path(f"/raw/{self.image(number)}.tif"), 10**9, 17)
        entry = LedgerEntry(movie_id, self.session_id, file, 1, MovieState.SEEN, "", None, written_s + 1, written_s)
        tasks = tuple(
            NewTask(
                f"t-{image_id}-{stage}", f"j-{self.session_id}", self.session_id, image_id, movie_id, stage, position
            )
            for position, stage in enumerate(METRICS)
        )
        changes: list[Change] = [
            SeeMovie(entry),
            PutImages((ImageRecord(image_id, self.session_id, self.image(number), None, None, _TAKEN),)),
            MoveMovie(movie_id, MovieState.COMPLETE, cause="settled", image_id=image_id, at_s=written_s + 5),
            PutTasks(tasks, at_s=written_s + 5),
        ]
        is_broken = number % 25 == 24
        for position, task in enumerate(task for task in tasks if task.stage in stages):
            begun_s = written_s + _LATENCY_S / 4 * (position + 1)
            changes.append(StartAttempt(task.task_id, 1, HASH, begun_s))
            end_s = begun_s + 4 + number % 7
            if is_broken:
                changes.append(
                    EndTask(
                        task.task_id, TaskState.FAILED, 1, f"{file.path}: cannot be read: stale handle.",
                        "file_unreadable", "Check the mount.", cause="failed", ended_at_s=end_s,
                    )
                )  # fmt: skip
                continue
            changes.append(
                EndTask(task.task_id, TaskState.COMPLETED, 1, code_version="0.1.0", cause="done", ended_at_s=end_s)
            )
            changes.append(PutMetrics(task.stage, image_id, task.task_id, self._numbers(task.stage, number, generator)))
        if set(stages) == set(METRICS):
            changes.append(self._verdict(image_id, number, is_broken))
            state = MovieState.FAILED if is_broken else MovieState.DONE
            changes.append(MoveMovie(movie_id, state, cause="processed", at_s=written_s + _LATENCY_S + 20))
        return changes

    def _verdict(self, image_id: str, number: int, is_broken: bool) -> PutVerdict:
        if is_broken:
            return PutVerdict(
                self.session_id, image_id, False, "motion_correction", "motion_correction did not succeed"
            )
        if number % 10 == 9:
            return PutVerdict(self.session_id, image_id, False, "ctf_resolution_ang", "ctf_resolution_ang: 9 Å")
        return PutVerdict(self.session_id, image_id, True)

    @staticmethod
    def _numbers(stage: str, number: int, generator: np.random.Generator) -> dict[str, float | int | str | bool | None]:
        noise = float(generator.normal())
        if stage == "motion_correction":
            return {
                "pixel_size_ang": 0.83, "frame_count": 40, "dose_per_frame_e_per_ang2": 1.0,
                "total_motion_ang": 12 + 3 * noise, "early_motion_ang": 6 + noise, "is_dose_weighted": True,
                "is_spectrum_of_partial_sums": True, "warning": EVIL if number == 3 else None,
                "largest_local_motion_ang": 2 + abs(noise), "expected_error_px": 0.2 + 0.01 * noise,
                "signal_sigma": 30 + noise,
                "fixed_pattern_share": 0.0, "unusable_frames": 0, "defects": 12,
            }  # fmt: skip
        if stage == "ctf_estimation":
            u_ang = 15_000 + 6000 * math.sin(number) + 100 * noise
            return {
                "amplitude_contrast": 0.1, "confident": number % 30 != 17, "warning": None,
                "ice_ring": 1 + abs(noise) / 5,
                "defocus_u_ang": u_ang, "defocus_v_ang": u_ang - 200, "astigmatism_ang": 200.0 + 40 * noise,
                "astigmatism_angle_deg": 30.0, "phase_shift_deg": 0.0, "score": 0.2 + 0.01 * noise,
                "fit_resolution_ang": 9.0 if number % 10 == 9 else 4 + 0.2 * noise, "defocus_sigma_ang": 30 + noise,
            }  # fmt: skip
        if stage == "fft":
            return {"edge_resolution_ang": 1.66}
        return {"width_px": 700, "height_px": 494, "mean_level": 10 + noise, "level_deviation": 3 + 0.1 * noise}


_TAKEN = Acquisition(
    voltage_kv=300.0, spherical_aberration_mm=2.7, pixel_size_ang=0.83, dose_per_frame_e_per_ang2=1.0,
    defocus_range_um=(0.8, 2.2),
)  # fmt: skip

LIMITS = {gate.name: gate.default for gate in GATES}
