"""The `[report]` section: the page about a session."""

from pydantic import BaseModel, ConfigDict, Field


class ReportSettings(BaseModel):
    """The report of a session, one HTML file; `elcano report` writes it at any time."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    at_close: bool = Field(
        default=True,
        description="Write <home>/<session>/reports/<session>.html when a session closes, and again when one that was "
        "reopened does.",
    )
