"""Every stage declares which fields of the acquisition its result depends on: a correction of others costs nothing."""

import ast
import inspect
from dataclasses import fields

import pytest

from daemon.domain.acquisition import Acquisition
from daemon.pipeline.graph import AnyStage
from daemon.pipeline.product import MOVIE
from daemon.stages import MOVIE_STAGES

_OF_THE_MOVIE = {"gain", "eer"}
"""What the engine uses to read the movie, for the stage."""
_READ_BY = {
    "dose_per_frame": {"dose_per_frame_e_per_ang2", "total_dose_e_per_ang2"},
    "micrograph_pixel_size_ang": {"pixel_size_ang", "motion_binning"},
}


def used_by(stage: AnyStage) -> set[str]:
    """Fields that the stage's module reads of anything called acquisition."""
    used: set[str] = _OF_THE_MOVIE if MOVIE in stage.consumes else set()
    for node in ast.walk(ast.parse(inspect.getsource(inspect.getmodule(type(stage))))):  # type: ignore[arg-type]
        if isinstance(node, ast.Attribute):
            owner = node.value
            name = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")
            if name == "acquisition":
                used = used | _READ_BY.get(node.attr, {node.attr})
    return used


@pytest.mark.parametrize("stage", MOVIE_STAGES, ids=lambda stage: stage.name)
def test_what_a_stage_uses_is_declared(stage: AnyStage) -> None:
    known = {field.name for field in fields(Acquisition)}
    assert set(stage.acquisition) <= known
    assert used_by(stage) <= set(stage.acquisition)


def test_every_stage_but_the_picture_uses_something() -> None:
    assert {stage.name for stage in MOVIE_STAGES if not stage.acquisition} == {"thumbnail"}
