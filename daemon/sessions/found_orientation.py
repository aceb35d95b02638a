"""How a gain reference lies on the frames of a session, as it was found in the movies: kept, applied, said in words."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np

from daemon.domain.acquisition import Acquisition, Flip, GainReference, Rotation
from daemon.domain.names import readable_path
from daemon.domain.session import ImageRecord
from daemon.errors import READ_AGAIN
from daemon.formats.camera_image import turn_image
from daemon.store import sessions
from daemon.store.reading import Reads
from daemon.store.rows import encode_path

GAIN_ORIENTATION = "gain_orientation"
"""Key of the decision how the gain of a session lies, and kind of the notification that tells it."""

GAIN_CHECKED = "gain_orientation_checked"
"""Key of the decision which gain, as it is configured, was compared with the movies, and how they fit it if not so."""

Why: TypeAlias = Literal["flat", "thin", "alike", "faint", "foreign", "contradicted"]
"""Why nothing was found: the doubts of `numerics.gain_orientation`; contradicted: found, but against `operation`."""

_TURNS: tuple[tuple[Rotation, Flip], ...] = (
    (0, "none"),
    (90, "none"),
    (180, "none"),
    (270, "none"),
    (0, "x"),
    (0, "y"),
    (90, "x"),
    (90, "y"),
)
_ASYMMETRIC_YX = np.arange(6).reshape(2, 3)
_REASONS: Mapping[Why, str] = {
    "flat": "it is the same for all pixels",
    "thin": "its first movies hold too few counts",
    "alike": "it looks the same in more than one orientation",
    "faint": "the movies show hardly any of its pattern, as if the camera had applied it already",
    "foreign": "the movies do not show its pattern in any orientation: it may be of another camera or another time, or "
    "the camera may have applied it already",
    "contradicted": "the movies fit it only with the other operation than the one that is configured",
}


@dataclass(frozen=True)
class FoundOrientation:
    """What the movies say of one gain; where `doubt` is set, they say nothing that may be relied on.

    divides: how it is used, also where `operation` is auto. fit_sigma, margin_sigma and strength are those of
    `numerics.gain_orientation`, of the best of all orientations. sha256: of the gain's bytes. asked: how the gain was
    configured. None of the last two is unknown and differs from nothing.
    """

    path: str
    rotate_deg: Rotation
    flip: Flip
    operation: Literal["multiply", "divide", "auto"]
    divides: bool
    doubt: Why | None
    movies: int
    fit_sigma: float
    margin_sigma: float
    strength: float
    sha256: str | None = None
    asked: str | None = None

    def is_of(self, gain: GainReference, sha256: str | None) -> bool:
        """Whether it says how this gain lies, configured as it is now.

        What movies show does not depend on how the gain was configured to lie: only an operation that it contradicts
        asks anew. Where they showed nothing, any other configuration does.
        """
        if encode_path(gain.path) != self.path or not _may_be_same(self.sha256, sha256):
            return False
        if self.doubt is None:
            return gain.operation in {"auto", "divide" if self.divides else "multiply"}
        return _may_be_same(self.asked, say_asked(gain))

    def turn(self, acquisition: Acquisition) -> Acquisition:
        """Return the acquisition with its gain as it was found to lie, where it is of this gain and asks for it."""
        gain = acquisition.gain
        if gain is None or gain.orientation != "auto" or self.doubt is not None or not self.is_of(gain, None):
            return acquisition
        turned = replace(gain, rotate_deg=self.rotate_deg, flip=self.flip, operation=self.operation)
        return acquisition if turned == gain else replace(acquisition, gain=turned)


async def known_orientation(store: Reads, session_id: str) -> FoundOrientation | None:
    """Return what was decided in a session, None as long as nothing was."""
    kept = (await sessions.decisions(store, session_id)).get(GAIN_ORIENTATION)
    return None if kept is None else FoundOrientation(**kept)


def turn_images(images: Mapping[str, ImageRecord], found: FoundOrientation | None) -> dict[str, ImageRecord]:
    """Return images by id with their gain as it was found to lie."""
    if found is None:
        return dict(images)
    turned: dict[str, ImageRecord] = {}
    for image_id, image in images.items():
        acquisition = found.turn(image.acquisition)
        turned[image_id] = image if acquisition is image.acquisition else replace(image, acquisition=acquisition)
    return turned


def say_asked(gain: GainReference) -> str:
    """Return how a gain is configured, as it is kept with what was decided."""
    return f"{gain.rotate_deg} {gain.flip} {gain.operation}"


def _may_be_same(one: str | None, other: str | None) -> bool:
    return one is None or other is None or one == other


def all_turns(gain: GainReference) -> list[GainReference]:
    """Return the gain in each of the eight ways that a square can lie."""
    return [replace(gain, rotate_deg=rotate_deg, flip=flip) for rotate_deg, flip in _TURNS]


def lie_alike(one: GainReference, other: GainReference) -> bool:
    """Whether both turn an image alike: 180° and mirrored is upside down."""
    return np.array_equal(turn_image(_ASYMMETRIC_YX, one), turn_image(_ASYMMETRIC_YX, other))


def say_how(gain: GainReference, *, divides: bool) -> str:
    """Say in words how a gain is used."""
    turned = f"turned by {gain.rotate_deg}° clockwise" if gain.rotate_deg else ""
    mirrored = {"none": "", "x": "mirrored left to right", "y": "turned upside down"}[gain.flip]
    lies = " and ".join(part for part in (turned, mirrored) if part) or "as the file has it"
    return f"{lies}, {'dividing' if divides else 'multiplying'} the frames"


def say_keys(gain: GainReference, *, divides: bool) -> str:
    """Say what to write into a configuration so that a gain is used so."""
    return f'rotate_deg = {gain.rotate_deg}, flip = "{gain.flip}", operation = "{"divide" if divides else "multiply"}"'


def say_remedy(keys: str) -> str:
    """Say where these keys are set, and how what was made with the gain as it lay gets made anew."""
    return (
        f'Set {keys}, or orientation = "auto", under acquisition.gain in the [[session]] entry of config.toml or in '
        f"session.json, {READ_AGAIN}: the movies that were corrected with the gain as it was are made again."
    )


def say_reason(doubt: Why, gain: GainReference) -> str:
    """Say why nothing was found."""
    return f"How the gain reference {readable_path(gain.path)} lies was not found: {_REASONS[doubt]}"


@dataclass(frozen=True)
class CheckedOrientation:
    """A gain as it is configured, compared with the movies; where they differ, `fits` says how, `keys` what to set."""

    path: str
    rotate_deg: Rotation
    flip: Flip
    operation: Literal["multiply", "divide", "auto"]
    fits: str | None = None
    sha256: str | None = None
    keys: str | None = None

    @classmethod
    def of(cls, gain: GainReference, sha256: str | None) -> "CheckedOrientation":
        """Return what is compared of a gain."""
        return cls(encode_path(gain.path), gain.rotate_deg, gain.flip, gain.operation, sha256=sha256)

    def is_of(self, gain: GainReference, sha256: str | None) -> bool:
        """Whether this very gain was compared, configured as it is now; a hash that is unknown differs from none."""
        is_same = replace(self, fits=None, sha256=None, keys=None) == CheckedOrientation.of(gain, None)
        return is_same and _may_be_same(self.sha256, sha256)


def gain_notes(acquisition: Acquisition, decided: Mapping[str, Any]) -> list[str]:
    """Return what a status page says of the gain of a session, by the session's acquisition and its decisions."""
    gain = acquisition.gain
    if gain is None:
        return []
    if gain.orientation == "as_is":
        checked = CheckedOrientation(**decided[GAIN_CHECKED]) if GAIN_CHECKED in decided else None
        if checked is None or checked.fits is None or not checked.is_of(gain, None):
            return []
        said = f"the gain reference lies otherwise than is configured: the movies fit it {checked.fits}"
        return [said if checked.keys is None else f"{said}. {say_remedy(checked.keys)}"]
    found = FoundOrientation(**decided[GAIN_ORIENTATION]) if GAIN_ORIENTATION in decided else None
    if found is None or not found.is_of(gain, None):
        return ["how the gain reference lies is not found yet: it is used as it is configured"]
    if found.doubt is not None:
        return [f"{say_reason(found.doubt, gain)}; it is used as it is configured"]
    how = say_how(replace(gain, rotate_deg=found.rotate_deg, flip=found.flip), divides=found.divides)
    return [f"the gain reference was found to lie so: {how} ({found.fit_sigma:.0f} σ)"]
