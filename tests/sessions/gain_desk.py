"""Movies of raw counts and a gain for them, as a session's intake takes them."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from daemon.config.acquisition import AcquisitionSettings
from daemon.domain.acquisition import GainReference
from daemon.domain.movie import FileIdentity
from daemon.formats.mrc_writer import write_mrc
from daemon.sessions.found_orientation import GAIN_ORIENTATION, gain_notes
from daemon.store import sessions
from daemon.store.changes import PutNotification
from tests.numerics.gain_cases import Camera, draw_camera
from tests.sessions.desk import Desk, identify

CAMERA = draw_camera((256, 256), 1)
ENOUGH, TOO_FEW = 40.0, 1.0


def write_gain(desk: Desk, image_yx: npt.NDArray[Any]) -> Path:
    path = desk.raw / "gains" / "gain.mrc"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_mrc(path, image_yx.astype(np.float32), pixel_size_ang=1.0)
    return path


def write_movie(desk: Desk, name: str, counts_per_px: float, seed: int = 0, camera: Camera = CAMERA) -> FileIdentity:
    """Two frames of raw counts, rows as stored."""
    path = desk.frames / name
    frames_tyx = np.stack([camera.expose(counts_per_px / 2, 10 * seed + part) for part in (0, 1)]).astype(np.int16)
    write_mrc(path, frames_tyx, pixel_size_ang=0.83)
    return identify(path)


def asking(**gain: object) -> AcquisitionSettings:
    return AcquisitionSettings.model_validate({"gain": {"path": "gains/gain.mrc", **gain}})


async def take(desk: Desk, identity: FileIdentity) -> GainReference:
    """Let a movie be proven whole; return how its gain is used, as the database has it."""
    await desk.intake.seen([identity])
    await desk.intake.complete(identity, None, "whole")
    return await gain_of(desk, identity)


async def gain_of(desk: Desk, identity: FileIdentity) -> GainReference:
    entry = await desk.newest(str(identity.path.relative_to(desk.raw)))
    image = await sessions.image(desk.store, entry.image_id or "")
    assert image is not None
    assert image.acquisition.gain is not None
    return image.acquisition.gain


async def told(desk: Desk) -> list[PutNotification]:
    return [note for note in await sessions.notifications(desk.store) if note.kind == GAIN_ORIENTATION]


async def notes(desk: Desk) -> list[str]:
    """What `elcano status` says of the gain."""
    decided = await sessions.decisions(desk.store, desk.session_id)
    return gain_notes(desk.imported.book.session.acquisition, decided)
