"""The `[gates]` section: which micrographs the costly stages are spared."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

OFF = "off"


def _read_off(value: Any) -> Any:
    return None if value == OFF else value


Limit = Annotated[float | None, BeforeValidator(_read_off)]


def _limit(default: float | None, description: str, unit: str, *, ge: float = 0.0, le: float) -> Any:
    return Field(
        default=default,
        ge=ge,
        le=le,
        examples=[OFF],
        json_schema_extra={"takes": f'a number from {ge:.12g} to {le:.12g}{unit}, or "{OFF}"', "live": True},
        description=description,
    )


class GateSettings(BaseModel):
    """Gates. Micrographs that fail one are not picked; their tasks are skipped, the gate named.

    `elcano gates` shows them for a session, moves them live, and says beforehand how many would pass. A limit is
    judged by the numbers of the stages that a session runs, no others.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    ctf_resolution_ang: Limit = _limit(10.0, "Worst resolution to which the CTF fits.", " Å", le=1000)
    ctf_score: Limit = _limit(None, "Least score of the CTF fit.", "", ge=-1, le=1)
    astigmatism_ang: Limit = _limit(2000.0, "Largest difference of the two defoci.", " Å", le=100_000)
    defocus_least_ang: Limit = _limit(1000.0, "Least defocus, mean of the two.", " Å", ge=-100_000, le=200_000)
    defocus_most_ang: Limit = _limit(60_000.0, "Largest defocus, mean of the two.", " Å", le=200_000)
    ice_ring: Limit = _limit(
        2.0, "Strongest ice ring near 3.7 Å, as a multiple of the spectrum around it; 1 is none.", "", le=10_000
    )
    motion_total_ang: Limit = _limit(
        100.0, "Longest path of the whole frame; a movie in which nothing could be aligned passes.", " Å", le=10_000
    )
    motion_per_frame_ang: Limit = _limit(10.0, "Longest mean step from frame to frame.", " Å", le=10_000)

    @property
    def limits(self) -> dict[str, float | None]:
        """The limit of each gate, None for one that is off."""
        return dict(self)


def bounds_of(name: str) -> tuple[float | None, float | None]:
    """Return the least and the largest limit of a gate; None where there is no such bound."""
    field = GateSettings.model_fields.get(name)
    rules = () if field is None else field.metadata
    least, most = ([getattr(rule, key) for rule in rules if hasattr(rule, key)] for key in ("ge", "le"))
    return least[0] if least else None, most[0] if most else None


def bounds_broken(name: str, limit: float | None) -> str:
    """Return in words what the limit of a gate may be where this one may not be; empty where nothing is against it."""
    field = GateSettings.model_fields.get(name)
    if field is None or not isinstance(field.json_schema_extra, dict):
        return ""
    try:
        GateSettings.model_validate({name: limit})
    except ValidationError:
        return str(field.json_schema_extra["takes"])
    return ""
