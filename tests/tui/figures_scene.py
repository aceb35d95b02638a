"""What the fake daemon says of figures, of how it keeps up, and of its disks."""

import math
from typing import Any

from daemon.messages.curation import GateInfo, MeasureInfo
from daemon.messages.envelope import utc
from daemon.messages.event_data import DeviceLoad, NodeHeartbeat, StageHeartbeat
from daemon.messages.live import DiskLoad, Outlook
from tests.tui.scenes import NOW_S

CTF, MOTION = "ctf_estimation", "motion_correction"
_MEASURES = (
    (CTF, "CTF fit resolution", " Å"),
    (CTF, "CTF score", ""),
    (CTF, "astigmatism", " Å"),
    (CTF, "defocus", " Å"),
    (CTF, "ice ring", ""),
    (MOTION, "motion", " Å"),
    (CTF, "phase shift", "°"),
)
_GATES = (
    ("ctf_resolution_ang", 0, True, 10.0),
    ("astigmatism_ang", 2, True, 2000.0),
    ("defocus_least_ang", 3, False, 1000.0),
    ("defocus_most_ang", 3, True, 60_000.0),
    ("ice_ring", 4, True, 2.0),
    ("motion_total_ang", 5, True, 100.0),
)


def measures() -> list[MeasureInfo]:
    return [MeasureInfo(key=f"{s}: {title}", title=title, unit=unit, stage=s) for s, title, unit in _MEASURES]


def gates(limits: dict[str, float | None] | None = None) -> list[GateInfo]:
    return [
        GateInfo(
            name=name,
            measure=measures()[measure].key,
            stage=_MEASURES[measure][0],
            passes_below=below,
            is_needed=name != "ice_ring",
            distrusts=_MEASURES[measure][0] == CTF and name != "ice_ring",
            limit=(limits or {}).get(name, configured),
            configured=configured,
        )
        for name, measure, below, configured in _GATES
    ]


def image(number: int, count: int) -> list[Any]:
    """Resolution gets worse towards the end; one in eleven is not judged yet, one in seventeen not to be trusted."""
    wave = math.sin(number / 9.0)
    late = number / count
    values: list[float | None] = [
        3.5 + 0.4 * wave + (7.5 * late if number % 7 == 0 else 0.0),
        0.1 + 0.05 * wave,
        200.0 + 60.0 * wave + 900.0 * (number % 13 == 0),
        9000.0 + 6000.0 * wave + 300.0 * (number % 5),
        None if number % 6 else 1.0 + late,
        12.0 + 9.0 * abs(wave) + (95.0 if number % 29 == 0 else 0.0),
        None,
    ]
    ctf = 1 if number % 11 == 10 else 3 if number % 17 == 16 else 2
    if ctf == 1:
        values[:5] = [None] * 5
    return [f"24dec03a_{number:05d}ex", NOW_S - 7200 + 7000 * late, [ctf, 2], values, None]


def curation(
    session: str = "24dec03a", images: int = 240, limits: dict[str, float | None] | None = None, **more: Any
) -> dict[str, Any]:
    """The answer to the query `curation`, as it comes over the wire."""
    import msgspec

    told = {
        "session": session,
        "stages": [CTF, MOTION],
        "measures": measures(),
        "gates": gates(limits),
        "set_here": limits or {},
        "moves": [],
        "images": [image(number, images) for number in range(images)],
        **more,
    }
    plain: dict[str, Any] = msgspec.to_builtins(told)
    return plain


def preview(**more: Any) -> dict[str, Any]:
    """The answer to the query `gates`."""
    told = {
        "limits": {name: configured for name, _, _, configured in _GATES},
        "passes": 150,
        "refused": 60,
        "undecided": 30,
        "by_gate": {},
        "failed": {},
        "accepted_by_hand": 0,
        "tasks_reopened": 0,
        "tasks_skipped": 5,
        "token": "abc",
        "preview": True,
        "gates": [],
    }
    return told | more


def outlook(**more: Any) -> Outlook:
    told: dict[str, Any] = {
        "is_behind": False,
        "bottleneck": MOTION,
        "kind": "stage",
        "seconds_per_movie": 6.2,
        "times_usual": 1.0,
        "arriving_per_hour": 280.0,
        "processed_per_hour": 275.0,
        "capacity_per_hour": 423.0,
        "backlog": 2,
        "backlog_in_1h": 0,
        "wait_in_1h_s": 0.0,
        "caught_up_in_s": 50.0,
    }
    return Outlook(**(told | more))


def behind() -> Outlook:
    return outlook(
        is_behind=True,
        bottleneck=CTF,
        seconds_per_movie=8.1,
        times_usual=4.1,
        arriving_per_hour=400.0,
        capacity_per_hour=210.0,
        backlog=212,
        backlog_in_1h=402,
        wait_in_1h_s=6891.0,
        caught_up_in_s=None,
    )


def live(told: Outlook | None = None, **more: Any) -> dict[str, Any]:
    """The answer to the query `live`."""
    import msgspec

    steps = [
        {"name": "reading", "count": 52, "seconds_per_movie": 1.4, "usual_s": 1.4, "busy_percent": 12.0},
        {"name": MOTION, "count": 26, "seconds_per_movie": 6.2, "usual_s": 6.1, "busy_percent": 54.0},
        {"name": CTF, "count": 26, "seconds_per_movie": 8.1, "usual_s": 2.0, "busy_percent": 40.0},
        {"name": "thumbnail", "count": 26, "seconds_per_movie": 0.2, "usual_s": None, "busy_percent": 2.0},
    ]
    answer = {
        "at_s": NOW_S,
        "window_s": 3600.0,
        "bucket_s": 60.0,
        "seen": [4 + number % 4 for number in range(60)],
        "processed": [0, 0, 0, *[3 + number % 3 for number in range(57)]],
        "latency": [
            {"window_s": 900.0, "count": 60, "p50_s": 14.2, "p95_s": 31.0, "p99_s": 44.0},
            {"window_s": 3600.0, "count": 250, "p50_s": 9.4, "p95_s": 28.0, "p99_s": 41.0},
            {"window_s": 86_400.0, "count": 0, "p50_s": None, "p95_s": None, "p99_s": None},
        ],
        "watcher": {"count": 250, "seen_p50_s": 1.1, "seen_p95_s": 2.3, "proven_p50_s": 3.4, "proven_p95_s": 6.8},
        "unproven": 3,
        "steps": steps,
        "outlook": told or outlook(),
        **more,
    }
    plain: dict[str, Any] = msgspec.to_builtins(answer)
    return plain


def queues() -> dict[str, Any]:
    return {
        "scheduler": {"waiting": 3, "delayed": 1, "in_flight": 3, "visited": 240, "next_retry_at_s": None},
        "byte_budget": {
            "total_bytes": 32 * 2**30,
            "reserved_bytes": 9 * 2**30,
            "peak_bytes": 20 * 2**30,
            "waiting": 1,
        },
        "paused": [],
    }


def pause(**more: Any) -> dict[str, Any]:
    told = {"session_id": None, "stage": None, "session": None, "asked_by": "ada (operator)"}
    return told | {"why": "new disk", "since_s": NOW_S - 300} | more


def full_beat(host: str = "gpu01", *, age_s: float = 4.0, told: Outlook | None = None, **more: Any) -> NodeHeartbeat:
    disks = [
        DiskLoad(
            what="home",
            path="/gpfs/results",
            free_bytes=3 * 2**40,
            total_bytes=20 * 2**40,
            reserve_bytes=2**40,
            full_in_s=180_000.0,
        ),
        DiskLoad(what="state", path="/var/lib/elcano", free_bytes=40 * 2**30, total_bytes=100 * 2**30),
        DiskLoad(what="raw", path="/gpfs/raw", trouble="does not answer, was waited for 5 s"),
    ]
    device = DeviceLoad(
        name="NVIDIA H200", utilisation_percent=81.0, memory_used_bytes=30 * 2**30, memory_total_bytes=139 * 2**30
    )
    fields: dict[str, Any] = {
        "ts": utc(NOW_S - age_s),
        "host": host,
        "instance": "main",
        "pid": 4242,
        "version": "1.0",
        "uptime_s": 7200.0,
        "cpu_percent": 142.0,
        "memory_used_bytes": 3 * 2**30,
        "devices": [device],
        "queues": {"waiting": 3, "in_flight": 1, "delayed": 0},
        "disks": disks,
        "outlook": told or outlook(),
    }
    return NodeHeartbeat(**(fields | more))


def stage_beats(host: str = "gpu01") -> list[StageHeartbeat]:
    return [
        StageHeartbeat(
            ts=utc(NOW_S - 4),
            host=host,
            instance="main",
            category="x",
            stage=stage,
            waiting=3,
            running=1,
            completed=240,
            failed=2,
        )
        for stage in ("motioncor", "ctf")
    ]


def proof(**more: Any) -> dict[str, Any]:
    nonce = {"file": "gpu01-main", "nonce": "x", "host": "gpu01", "home": "/gpfs/results", "written_at": NOW_S - 60}
    return {"host": "gpu01", "home": "/gpfs/results", "proof": nonce, "trouble": "", "roots": []} | more
