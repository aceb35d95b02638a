"""session.json of a simulated session: the grid → square → hole → exposure tree as Magellon exports it."""

import json
from collections.abc import Mapping
from typing import Any

from daemon.domain.identity import stable_id
from daemon.domain.movie import MovieFormat
from daemon.simulator.camera_files import DARK_PATH, DEFECTS_PATH
from daemon.simulator.plan import PlannedMovie, SessionPlan

_LEVELS = {1: (64, "3.40E-8"), 2: (320, "6.8E-9"), 3: (1700, "1.1E-9")}
"""Magnification and pixel size (m) of grid, square and hole images."""
_EXPOSURE_MAGNIFICATION = 105_000

GAIN_PATH = "gains/gain.mrc"
"""Where the gain reference lies, relative to the session's raw directory."""


def format_session_json(plan: SessionPlan) -> str:
    """Return the text of session.json; equal plans give equal text."""
    name = plan.request.name
    session_id = stable_id("simulated-session", name)
    document: dict[str, Any] = {
        "metadata": {
            "exporter": "Elcano session simulator",
            "version": "1.0",
            "doc_type": "Session Essential Data",
            "export_date": None,
            "export_format_version": "1.0",
            "created_by": "elcano simulate",
            "schema_version": "1.0",
        },
        "msession": {"oid": session_id, "name": name, "project_id": None, "description": "Simulated session"},
        "images": _build_tree(plan, session_id),
    }
    if plan.request.manifest == "elcano":
        document["acquisition"] = _describe_acquisition(plan)
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _describe_acquisition(plan: SessionPlan) -> Mapping[str, Any]:
    request = plan.request
    low, high = request.defocus_range_ang
    acquisition: dict[str, Any] = {
        "voltage_kv": request.voltage_kv,
        "spherical_aberration_mm": request.spherical_aberration_mm,
        "amplitude_contrast": request.amplitude_contrast,
        "pixel_size_ang": request.size.pixel_size_ang,
        "dose_per_frame_e_per_ang2": request.size.dose_per_frame_e_per_ang2,
        "magnification": _EXPOSURE_MAGNIFICATION,
        "phase_plate": request.phase_shift_deg != 0,
        "eer": {"fractions": request.size.frames, "upsampling": 1},
        # Said outright: by itself an MRC gain would divide EER movies and multiply the others.
        "gain": {"path": GAIN_PATH, "flip": "none", "rotate_deg": 0, "operation": "multiply"},
    }
    if request.camera_faults:
        acquisition["dark"] = {"path": DARK_PATH}
        acquisition["defects"] = {"path": DEFECTS_PATH}
    if any(movie.defocus_u_ang for movie in plan.movies):
        acquisition["defocus_range_um"] = [low / 1e4, high / 1e4]
    return acquisition


def _build_tree(plan: SessionPlan, session_id: str) -> list[dict[str, Any]]:
    roots: list[dict[str, Any]] = []
    nodes: dict[str, dict[str, Any]] = {}
    for movie in plan.movies:
        parent: dict[str, Any] | None = None
        for level, name in enumerate(movie.lineage, start=1):
            if name not in nodes:
                nodes[name] = _describe_parent(plan, session_id, movie, name, level, parent)
                (roots if parent is None else parent["children"]).append(nodes[name])
            parent = nodes[name]
        assert parent is not None
        parent["children"].append(_describe_exposure(plan, session_id, movie, parent))
    return roots


def _describe_parent(
    plan: SessionPlan, session_id: str, movie: PlannedMovie, name: str, level: int, parent: Mapping[str, Any] | None
) -> dict[str, Any]:
    magnification, pixel_size = _LEVELS[level]
    record = _describe_image(plan, session_id, movie, name, level, parent)
    record.update(magnification=magnification, binning_x=8, binning_y=8, pixel_size=pixel_size)
    record.update(defocus="-0.00008000" if level == 3 else "0E-8", dose=None, frame_count=None)
    record["children"] = []
    return record


def _describe_exposure(
    plan: SessionPlan, session_id: str, movie: PlannedMovie, parent: Mapping[str, Any]
) -> dict[str, Any]:
    size = plan.request.size
    record = _describe_image(plan, session_id, movie, movie.name, 4, parent)
    mean_defocus_m = 0.5 * (movie.defocus_u_ang + movie.defocus_v_ang) * 1e-10
    # Real exports hold decimals in steps of 1e-10, where the pixel of an exposure drowns.
    pixel_size = "0E-10" if plan.request.manifest == "magellon" else f"{size.pixel_size_ang:g}E-10"
    record.update(
        magnification=_EXPOSURE_MAGNIFICATION,
        binning_x=1,
        binning_y=1,
        dimension_x=size.width_px,
        dimension_y=size.height_px,
        pixel_size=pixel_size,
        # What an operator sets is the nominal defocus, to 0.1 µm; the true one differs.
        defocus=f"{-round(mean_defocus_m, 7):.10f}" if mean_defocus_m else "0E-10",
        dose=f"{size.dose_per_frame_e_per_ang2 * size.frames:.8f}",
        frame_count=size.frames * (plan.hardware_frames_per_frame if movie.format is MovieFormat.EER else 1),
        frame_name=movie.name,
    )
    return record


def _describe_image(
    plan: SessionPlan,
    session_id: str,
    movie: PlannedMovie,
    name: str,
    level: int,
    parent: Mapping[str, Any] | None,
) -> dict[str, Any]:
    x_m, y_m = movie.stage_xy_m
    return {
        "oid": stable_id("simulated-image", session_id, name),
        "name": name,
        "path": None,
        "parent_id": None if parent is None else parent["oid"],
        "session_id": session_id,
        "level": level,
        "stage_x": f"{x_m:.10f}",
        "stage_y": f"{y_m:.10f}",
        "stage_alpha_tilt": "0.0000000000",
        "acceleration_voltage": f"{plan.request.voltage_kv:.10f}",
        "spherical_aberration": f"{plan.request.spherical_aberration_mm * 1e-3:.10f}",
    }
