"""Made-up sessions, movies and tasks for the tests of the store."""

from dataclasses import dataclass
from pathlib import Path

from daemon.domain.acquisition import Acquisition
from daemon.domain.movie import FileIdentity, LedgerEntry
from daemon.domain.session import ImageRecord, Session
from daemon.domain.states import MovieState
from daemon.store.changes import (
    Change,
    MoveMovie,
    NewTask,
    PutImages,
    PutJob,
    PutSession,
    PutTasks,
    QueueEvent,
    SeeMovie,
)

NOW_S = 1_700_000_000.25


@dataclass(frozen=True)
class MotionNumbers:
    total_motion_ang: float
    frames: int
    warning: str | None = None
    confident: bool = True


@dataclass(frozen=True)
class CtfNumbers:
    defocus_u_ang: float
    defocus_v_ang: float
    score: float
    confident: bool | None = None
    warning: str | None = None


METRICS: dict[str, type] = {"motion_correction": MotionNumbers, "ctf_estimation": CtfNumbers}


def put_session(session_id: str = "s1", name: str = "grid1") -> PutSession:
    return PutSession(
        Session(session_id, name, Path("/raw") / name, Path("/home") / name, Acquisition(voltage_kv=300.0))
    )


def see_movie(
    movie_id: str = "m1", *, session_id: str = "s1", state: MovieState = MovieState.SEEN, revision: int = 1
) -> SeeMovie:
    identity = FileIdentity(Path(f"/raw/grid1/{movie_id}.tif"), 1000, 17)
    return SeeMovie(LedgerEntry(movie_id, session_id, identity, revision, state, "", None, NOW_S, NOW_S - 5))


def put_task(task_id: str = "t1", *, stage: str = "motion_correction", position: int = 0, number: int = 1) -> PutTasks:
    return PutTasks((NewTask(task_id, "j1", "s1", f"i{number}", f"m{number}", stage, position),), at_s=NOW_S)


def begin() -> tuple[Change, ...]:
    """A session with its import job."""
    return put_session(), PutJob("j1", "s1", "import", {"stages": ["motion_correction"]}, at_s=NOW_S)


def complete_movie(number: int, session_id: str = "s1") -> tuple[Change, ...]:
    """A movie on its image, complete, with its two tasks pending."""
    return (
        see_movie(f"m{number}", session_id=session_id),
        PutImages((ImageRecord(f"i{number}", session_id, f"image{number}", None, None, Acquisition()),)),
        MoveMovie(f"m{number}", MovieState.COMPLETE, cause="settled", image_id=f"i{number}", at_s=NOW_S + 1),
        PutTasks(
            (
                NewTask(f"t{number}a", "j1", session_id, f"i{number}", f"m{number}", "motion_correction", 0),
                NewTask(f"t{number}b", "j1", session_id, f"i{number}", f"m{number}", "ctf_estimation", 1),
            ),
            at_s=NOW_S + number,
        ),
    )


def queue_event(number: int) -> QueueEvent:
    return QueueEvent(f"e{number}", f"magellon.test.{number}", f"body {number}".encode(), occurred_at_s=NOW_S)
