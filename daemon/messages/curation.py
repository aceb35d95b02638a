"""What gates are moved by: every figure they judge, so that a terminal may judge as the daemon does."""

import msgspec

from daemon.messages.arguments import Arguments


class CurationQuery(Arguments, frozen=True, kw_only=True):
    """The figures of every image of a session, its gates, and who moved them before."""

    session: str


class MeasureInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A number of one stage."""

    key: str
    title: str
    unit: str
    stage: str


class GateInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A gate: which measure it limits, from which side, and where it stands."""

    name: str
    measure: str
    stage: str
    passes_below: bool
    is_needed: bool
    """Whether an image without the number is refused."""
    distrusts: bool
    """Whether numbers that their own stage does not trust are refused."""
    limit: float | None
    """What holds for the session, None: off…"""
    configured: float | None
    """…and what would hold had nobody moved it."""
    least: float | None = None
    most: float | None = None
    """Between which a limit has to be."""


STANDINGS = ("none", "waiting", "done", "distrusted", "failed", "cancelled")
"""How a stage that gates judge by stands for an image: not owed, not ended, completed, completed with numbers that it
does not trust itself, did not succeed, cancelled by a person. Sent as the place in this list."""


class ImageFigures(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """An image: when its movie was last written, stages as `CurationAnswer.stages`, values as `.measures`."""

    name: str
    at_s: float
    standings: list[int]
    values: list[float | None]
    mark: bool | None
    """What a person says of it, whatever the gates say."""


class LimitsMove(msgspec.Struct, frozen=True, kw_only=True):
    """Once somebody moved the gates: all limits that were set then by people, over the configured ones."""

    limits: dict[str, float | None]
    at_s: float
    asked_by: str
    why: str


class CurationAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """All that gates judge a session by, images in the order of their movies' last writes."""

    session: str
    stages: list[str]
    measures: list[MeasureInfo]
    gates: list[GateInfo]
    """In the order in which they are asked."""
    set_here: dict[str, float | None]
    """Limits that people have set for the session."""
    moves: list[LimitsMove]
    """The latest first."""
    images: list[ImageFigures]
