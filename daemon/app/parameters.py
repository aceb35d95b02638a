"""The parameter models of all stages, as the configuration wants them."""

from collections.abc import Mapping

from daemon.pipeline.stage import StageParams
from daemon.stages import MOVIE_STAGES


def stage_parameters() -> Mapping[str, type[StageParams]]:
    """Return the parameter model of every stage, for the configuration."""
    return {stage.name: stage.Params for stage in MOVIE_STAGES}
