"""What the fake daemon has on its disks: folders under its roots, sessions with their trees, files."""

from collections.abc import Mapping
from typing import Any

from tests.tui.scenes import NOW_S, STAGES

GPFS = "/gpfs/krios1"


def folder(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The answer to the query `folder`: roots, a folder of sessions, one session."""
    directory = arguments.get("directory")
    told: dict[str, Any] = {"offset": 0, "movies": 0, "others": 0, "has_manifest": False}
    told |= {"holds_sessions": directory == GPFS, "is_whole": True}
    if directory is None:
        entries: list[dict[str, Any]] = [{"name": root, "path": root} for root in (GPFS, "/mnt/old")]
        entries[0] |= {"holds_sessions": True}
        entries[1] |= {"trouble": "is not there"}
        return {**told, "directory": "", "parent": None, "entries": entries, "total": 2}
    if directory == GPFS:
        inside: list[dict[str, Any]] = [
            {"name": "24dec01a", "has_manifest": True, "session": "24dec01a", "session_state": "closed"},
            {"name": "24dec03a", "has_manifest": True, "session": "24dec03a", "session_state": "open"},
            {"name": "24dec05b", "has_manifest": True},
            {"name": "atlas", "trouble": "cannot be opened: Permission denied"},
            {"name": "elsewhere", "trouble": "leads outside the roots"},
            {"name": "new\x1b[31mred"},
        ]
        entries = [{**entry, "path": f"{GPFS}/{entry['name']}"} for entry in inside]
        return {**told, "directory": GPFS, "parent": None, "entries": entries, "total": 906, "others": 3}
    entries = [{"name": name, "path": f"{directory}/{name}"} for name in ("frames", "gains")]
    return {
        **told,
        "directory": directory,
        "parent": GPFS,
        "entries": entries,
        "total": 2,
        "others": 1,
        "has_manifest": directory.endswith("24dec05b"),
    }


def preview(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The answer to the query `session.preview`: a session with a tree that nobody has said the dose of."""
    directory = arguments["directory"]
    name = arguments.get("name") or directory.rpartition("/")[2]
    known = {"24dec01a": "closed", "24dec03a": "open"}.get(name, "")
    return {
        "directory": directory,
        "name": name,
        "home": f"/home/{name}",
        "refusal": "",
        "session_state": known,
        "job_id": "job-4" if known else "",
        "has_manifest": True,
        "description": "apoferritin, grid 3",
        "project": "Ferritin",
        "images": 1264,
        "levels": {"grid": 1, "square": 3, "hole": 60, "exposure": 1200},
        "values": [
            ["voltage_kv", "300 kV", "acquisition block of session.json"],
            ["pixel_size_ang", "0.83 Å/px", "config.toml"],
            ["spherical_aberration_mm", "Cs 2.7 mm", "all images in session.json"],
        ],
        "missing": ["dose", "gain"],
        "warnings": ["acquisition: odd is not used"],
        "stages": list(STAGES),
        "movies": {"movies": 412, "suffixes": {".tif": 412}, "first": "frames/a.tif", "is_whole": True, "troubles": []},
    }


IMPORTED = {
    "session": "24dec05b",
    "session_id": "id of 24dec05b",
    "job_id": "job-9",
    "home": "/home/24dec05b",
    "unknown": ["dose"],
    "tasks_again": 0,
}


def session_info(name: str, **more: Any) -> dict[str, Any]:
    """One session at a glance."""
    return {
        "session_id": f"id of {name}",
        "name": name,
        "title": "",
        "project": "Ferritin",
        "state": "open",
        "created_at_s": NOW_S - 7200,
        "closed_at_s": None,
        "raw_directory": f"{GPFS}/{name}",
        "home": f"/home/{name}",
        "job_id": "job-4",
        "images": 1264,
        "counts": [1200, 640, 3, 557, 590, 41],
        **more,
    }


def sessions_answer() -> dict[str, Any]:
    """The answer to the query `sessions`: two of a project, one of none."""
    return {
        "sessions": [
            session_info(
                "24dec01a", state="closed", closed_at_s=NOW_S - 3600, title="Grid 3, good ice", job_id="job-1"
            ),
            session_info("24dec02b", project="", images=10, counts=[10, 8, 2, 0, 8, 0], job_id="job-2"),
            session_info("24dec03a"),
        ]
    }


_LEVELS = {None: ("gr", 1, 2), 1: ("sq", 2, 3), 2: ("hl", 3, 5), 3: ("ex", 4, 0)}


def tree(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The answer to the query `tree`: grids of squares of holes of exposures, three hundred grids in all."""
    parent, offset, limit = arguments.get("parent"), arguments.get("offset", 0), arguments.get("limit", 200)
    depth = None if parent is None else parent.count("_")
    token, level, children = _LEVELS[depth]
    total = 300 if parent is None else 3
    nodes = []
    for number in range(offset, min(offset + limit, total)):
        name = f"{parent or '24dec03a'}_{number:05d}{token}"
        failed = level == 4 and number == 1
        state = "" if level < 4 else "failed" if failed else "done"
        counts = (
            [1, int(not failed), int(failed), 0, int(number == 0), int(number == 2)]
            if level == 4
            else [40, 30, 2, 8, 20, 5]
        )
        passes = None if level < 4 or failed else number == 0
        reason = "no Thon rings" if failed else "" if passes is not False else "fits to 9.1 Å only"
        nodes.append([name, name, level, children, state, passes, reason, counts])
    return {"session_id": "id of 24dec03a", "parent": parent, "offset": offset, "total": total, "nodes": nodes}


def session_answer(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The answer to the query `session`."""
    return {
        "session_id": arguments["session"],
        "imported_by": "anna@scope1 (operator)",
        "titled_by": "",
        "manifest": {"project.name": "Ferritin", "session.description": "apoferritin, grid 3"},
        "acquisition": [["voltage_kv", "300 kV"], ["pixel_size_ang", "0.83 Å/px"], ["gain", "gain gain.mrc"]],
        "stages": list(STAGES),
        "optics_groups": [
            {"number": 1, "images": 1100, "said": "5760 × 4092 px, 40 frames, 0.83 Å/px"},
            {"number": 2, "images": 100, "said": "5760 × 4092 px, 50 frames, 0.83 Å/px"},
        ],
        "left_alone": ["82 movies of 2 tilt series left alone, first ts/a_001.tif"],
        "refusals": {"fit resolution": 30, "drift": 11},
        "lacking": {},
        "latency": "half in 21 s, 95 % in 48 s",
        "notes": ["no gain reference is known: movies are taken as if the camera had corrected them"],
        "troubles": [],
        "told": [
            {"at_s": NOW_S - 600, "severity": "warning", "message": "Optics group 2 began: 50 frames.", "hint": ""}
        ],
        "closing": "",
        "report": "",
    }


def artifacts(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The answer to the query `artifacts`."""
    rows = [
        ("motion_correction", "micrograph", "motioncor", 640, 60 * 2**30),
        ("motion_correction", "motion_star", "motioncor", 640, 40 * 2**20),
        ("ctf_estimation", "ctf_plot", "ctf", 640, 90 * 2**20),
        ("thumbnail", "thumbnail", "thumbnails", 640, 30 * 2**20),
    ]
    groups = [
        {
            "session_id": "id of 24dec03a",
            "session": "24dec03a",
            "stage": stage,
            "kind": kind,
            "category": category,
            "files": files,
            "size_bytes": size_bytes,
        }
        for stage, kind, category, files, size_bytes in rows
    ]
    return {"groups": groups, "raw_movies": 1200, "raw_bytes": 900 * 2**30}


_SUFFIX = {"micrograph": "_aligned.mrc", "motion_star": "_motion.star", "ctf_plot": "_ctf.png", "thumbnail": ".jpg"}


def artifact_files(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The answer to the query `artifact.files`: 640 of a kind, one of them gone."""
    kind = arguments.get("kind") or "micrograph"
    offset, limit = arguments.get("offset", 0), arguments.get("limit", 200)
    files = [
        {
            "path": f"/home/24dec03a/{kind}/24dec03a_{number:05d}ex{_SUFFIX[kind]}",
            "stage": "motion_correction",
            "kind": kind,
            "image": f"24dec03a_{number:05d}ex",
            "size_bytes": 94371840,
            "written_at_s": NOW_S - 60 * number,
            "sha256": f"{number:064x}",
            "trouble": "is not there any more" if number == 2 else "",
        }
        for number in range(offset, min(640, offset + limit))
    ]
    return {"offset": offset, "total": 640, "files": files}


def columns(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The answer to the query `artifact.columns`."""
    values = [float((number - 20) ** 2) for number in range(40)]
    column = {"block": "global_shift", "label": "rlnMicrographShiftX", "rows": 40, "least": 0.0, "largest": 400.0}
    return {"columns": [{**column, "values": values}], "texts": ["general rlnMicrographMovieName"]}


ANSWERS: Mapping[str, Any] = {
    "folder": folder,
    "session.preview": preview,
    "session.import": IMPORTED,
    "sessions": sessions_answer(),
    "session": session_answer,
    "tree": tree,
    "artifacts": artifacts,
    "artifact.files": artifact_files,
    "artifact.columns": columns,
}
