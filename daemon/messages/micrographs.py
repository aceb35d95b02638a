"""How micrographs are looked at and judged by hand: what is asked, and answers typed at both ends."""
# ruff: noqa: RUF012 - msgspec gives every struct an empty default of its own

from typing import Annotated

import msgspec

from daemon.messages.arguments import Arguments, Reason

Number = float | int | str | bool | None


class ImageMark(Arguments, frozen=True, kw_only=True):
    """Accept micrographs of a session by hand, or reject them, whatever the gates say; also: leave them to the gates.

    They are those named for which the SQL condition `where` on `micrographs` holds. `preview` and `token` as for
    stage.reprocess.
    """

    session: str
    images: list[str] = []
    where: str | None = None
    why: Reason = ""
    preview: bool = False
    token: str | None = None


class MicrographsQuery(Arguments, frozen=True, kw_only=True):
    """Micrographs of a session at a glance; `after`, the `seq` of an earlier answer: only those that changed since."""

    session: str
    after: int | None = None


class MicrographQuery(Arguments, frozen=True, kw_only=True):
    """One micrograph: its steps, verdict, mark, curves, path of motion, and which pictures there are."""

    session: str
    image: str


class PictureQuery(Arguments, frozen=True, kw_only=True):
    """One picture of a micrograph as PNG, made so small that no side is longer than `longest_px`."""

    session: str
    image: str
    kind: str
    longest_px: Annotated[int, msgspec.Meta(ge=16, le=1024)] = 512


class MicrographRow(msgspec.Struct, frozen=True, array_like=True):
    """One micrograph at a glance; a number that its stage did not find, or has not yet, is None."""

    image_id: str
    name: str
    movie_state: str
    passes: bool | None
    gate: str
    """The gate that refuses; "by hand" where a person decided, either way."""
    reason: str
    """Why it does not pass, or who decided, cut to one line."""
    defocus_ang: float | None
    """Mean of both axes."""
    astigmatism_ang: float | None
    fit_resolution_ang: float | None
    score: float | None
    drift_ang: float | None
    ice_ring: float | None
    is_fit_confident: bool | None
    warning: str


class MicrographsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Micrographs as their movies were first seen; `seq` is what to ask `after` next time."""

    session: str
    seq: int
    images: list[MicrographRow]


class MicrographStep(msgspec.Struct, frozen=True, kw_only=True):
    """A step of a micrograph, and its numbers."""

    stage: str
    task_id: str
    state: str
    reason: str
    metrics: dict[str, Number]


class PictureInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A picture that can be asked for; another `sha256` is another picture."""

    kind: str
    stage: str
    size_bytes: int
    sha256: str


class RingCurves(msgspec.Struct, frozen=True, kw_only=True):
    """Rotational averages of the spectrum over the background, and of the CTF fitted to it."""

    frequency_per_ang: list[float | None]
    measured: list[float | None]
    fitted: list[float | None]
    quality: list[float | None]
    """How well both agree around each frequency."""


class HandMark(msgspec.Struct, frozen=True, kw_only=True):
    """What a person says of a micrograph."""

    passes: bool
    asked_by: str
    why: str
    at_s: float


class MicrographAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """All there is to see of one micrograph."""

    session: str
    image_id: str
    name: str
    passes: bool | None
    gate: str
    reason: str
    mark: HandMark | None
    steps: list[MicrographStep]
    pictures: list[PictureInfo]
    path_ang: list[tuple[float, float]]
    """Where the whole frame was at each frame, x and y as in the image, from the first frame; empty where not known."""
    curves: RingCurves | None
    troubles: list[str]
    """Files that could not be read, and why."""


class PictureAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A picture as PNG, cut into pieces so that it may travel on several pages."""

    kind: str
    width_px: int
    height_px: int
    pieces: list[bytes]
