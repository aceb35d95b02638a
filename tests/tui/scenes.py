"""What the fake daemon has: sessions with jobs, a matrix with every state, a failed task."""

from typing import Any

from daemon.messages.envelope import utc
from daemon.messages.event_data import JobSummary, NodeHeartbeat

NOW_S = 1_790_000_000.0
"""The time at which every test looks."""
STAGES = ("motion_correction", "ctf_estimation", "fft", "thumbnail")
STATES = ("pending", "running", "completed", "failed", "cancelled", "skipped")


def summary(
    job: str = "job-1",
    session: str = "24dec03a",
    steps: dict[str, dict[str, int]] | None = None,
    *,
    state: str = "running",
    started_s: float = NOW_S - 3600,
    **more: Any,
) -> JobSummary:
    counts = {"completed": 6, "running": 1, "failed": 1, "pending": 2}
    return JobSummary(
        job_id=job,
        session_id=f"id of {session}",
        session=session,
        kind="import",
        state=state,
        steps=steps or {stage: dict(counts) for stage in STAGES},
        updated_at=utc(NOW_S),
        created_at=utc(started_s),
        session_state="open" if state == "running" else "closed",
        **more,
    )


def sessions() -> list[JobSummary]:
    """One that runs, one that is over, one with nothing to do, one that someone cancelled."""
    return [
        summary("job-1", "24dec01a", {s: {"completed": 120} for s in STAGES}, state="completed", started_s=NOW_S - 9e4),
        summary("job-2", "24dec02b", {s: {"completed": 8, "skipped": 2} for s in STAGES}, started_s=NOW_S - 7200),
        summary(
            "job-3",
            "24dec02c",
            {s: {"cancelled": 4} for s in STAGES},
            state="cancelled",
            started_s=NOW_S - 5000,
            cancelled_by="anna@scope1 (operator)",
        ),
        summary("job-4", "24dec03a"),
    ]


def matrix(images: int = 12, *, job: str = "job-4", seq: int = 10) -> dict[str, Any]:
    """Every state somewhere; the answer to the query `matrix`."""
    rows = []
    for number in range(images):
        failed = number % 6 == 3
        states = [3, 5, 5, 5] if failed else [2, 2 if number % 5 else 1, 0 if number % 4 == 1 else 2, number % 3 * 2]
        rows.append(
            [
                f"image-{number}",
                f"24dec03a_{number:05d}ex",
                "complete",
                [
                    [f"task-{number}-{stage}", state, 1, "gain.mrc has another shape" if state == 3 else ""]
                    for stage, state in enumerate(states)
                ],
            ]
        )
    return {"job_id": job, "session": "24dec03a", "stages": list(STAGES), "seq": seq, "images": rows}


def heartbeat(host: str = "gpu01") -> NodeHeartbeat:
    return NodeHeartbeat(
        ts=utc(NOW_S),
        host=host,
        instance="main",
        pid=4242,
        version="1.0",
        uptime_s=7200.0,
        cpu_percent=42.0,
        memory_used_bytes=3 * 2**30,
        devices=[],
        queues={"waiting": 3, "in_flight": 1, "delayed": 0},
    )


def task(**more: Any) -> dict[str, Any]:
    """A task that failed; the answer to the query `task`."""
    told = {
        "task_id": "task-3-0",
        "job_id": "job-4",
        "session_id": "id of 24dec03a",
        "session": "24dec03a",
        "image_id": "image-3",
        "image": "24dec03a_00003ex",
        "movie": "/gpfs/24dec03a/frames/24dec03a_00003ex.tif",
        "stage": "motion_correction",
        "state": "failed",
        "attempts": 2,
        "reason": "gain.mrc is 64 × 64 pixels, the movie 128 × 128.",
        "error_kind": "gain_unsuitable",
        "hint": "Put the camera's gain reference into gains/, then retry.",
        "retryable": False,
        "warnings": ["the dose is not known"],
        "started_at_s": NOW_S - 130,
        "ended_at_s": NOW_S - 125,
        "next_attempt_at_s": None,
        "parameters": {"local": True, "patch_ang": 300.0, "dose_weighting": True, "resolution_limit_ang": 4.0},
        "own_parameters": {"patch_ang": 300.0},
        "ran_with_these": True,
        "metrics": {"total_motion_ang": 12.34, "frame_count": 40, "warning": ""},
        "files": [
            {"path": "/home/24dec03a/motioncor/24dec03a_00003ex_motion.png", "kind": "motion_plot", "size_bytes": 9000}
        ],
        "runs": [
            {
                "attempt": number,
                "outcome": "failed",
                "started_at_s": NOW_S - 400 + 135 * number,
                "ended_at_s": NOW_S - 395 + 135 * number,
                "reason": "gain.mrc is 64 × 64 pixels, the movie 128 × 128.",
                "error_kind": "gain_unsuitable",
                "hint": "",
                "retryable": False,
                "detail": "",
                "code_version": "1",
            }
            for number in (1, 2)
        ],
        "history": [
            {
                "from_state": None,
                "to_state": "pending",
                "at_s": NOW_S - 500,
                "reason": "",
                "cause": "import",
                "asked_by": None,
            },
            {
                "from_state": "failed",
                "to_state": "pending",
                "at_s": NOW_S - 200,
                "reason": "retried by anna@scope1 (operator)",
                "cause": "retry",
                "asked_by": "anna@scope1 (operator)",
            },
        ],
    }
    return told | more


def log_lines() -> list[list[Any]]:
    """Five lines as the answer to `logs` has them: of the daemon, of a session, of tasks; the last is hostile."""

    def line(seq: int, level: str, message: str, source: str, about: tuple[str, ...], **facts: str) -> list[Any]:
        session, stage, image, task_id = (*about, "", "", "", "")[:4]
        return [seq, NOW_S - 400 + seq, level, message, source, session, stage, image, task_id, facts]

    name, first, second = "24dec03a", "motion_correction", "ctf_estimation"
    hostile = "[bold red]x[/] \x1b[31mred\x07 " + "long " * 2000 + "the end"
    return [
        line(1, "info", "elcano started", "daemon.app.service", (), pid="4242"),
        line(2, "info", "session imported", "daemon.sessions.intake", (name,), directory=f"/gpfs/{name}"),
        line(3, "info", "5 × 5 patches, 2 without signal", "task", (name, first, f"{name}_00003ex", "task-3-0")),
        line(4, "warning", "the dose is not known", "task", (name, first, f"{name}_00004ex", "task-4-0")),
        line(5, "error", hostile, "task", (name, second, "a[b]\n\x1b]0;x", "task-4-1")),
    ]


def notifications() -> dict[str, Any]:
    """One of a session, and an older one of the daemon; the answer to `notifications`."""
    return {
        "notifications": [
            {
                "notification_id": "n1",
                "severity": "warning",
                "kind": "gain_missing",
                "message": "24dec03a has no gain reference: its movies are used as they are.",
                "hint": "Put it into gains/.",
                "raised_at_s": NOW_S - 300,
                "session_id": "id of 24dec03a",
                "session": "24dec03a",
            },
            {
                "notification_id": "n2",
                "severity": "error",
                "kind": "disk_full",
                "message": "There are 3 GiB left on /home: nothing new is begun.",
                "hint": "Make room.",
                "raised_at_s": NOW_S - 90_000,
                "session_id": None,
                "session": "",
            },
        ]
    }
