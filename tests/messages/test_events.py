import dataclasses
import json
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest

from daemon.errors import MessageInvalid
from daemon.messages import event_data as kinds
from daemon.messages import events
from daemon.messages.catalogue import EVENT_KINDS, read_data
from daemon.messages.envelope import Event, decode_envelope, utc
from daemon.messages.error_info import ErrorInfo
from daemon.messages.subjects import Subjects

WIRE = Path(__file__).parents[3] / "shared" / "data" / "wire"
SUBJECTS = Subjects()
AT_S = 1_700_000_000.125
TASK = events.TaskRef(
    job_id="11111111-1111-5111-8111-111111111111",
    task_id="22222222-2222-5222-8222-222222222222",
    image_id="33333333-3333-5333-8333-333333333333",
    image_name="24dec03a_00034gr_00003sq_v01_00002hl_00002ex",
    step="ctf",
    attempt=1,
)
JOB = events.JobRef(job_id=TASK.job_id, session_id="s-1", session="24dec03a", kind="import")
SESSION = events.SessionRef(session_id="s-1", session="24dec03a")
MOVIE = {"movie_id": "m-1", "path": "/gpfs/24dec03a/frames/x.eer"}
BEAT: dict[str, Any] = {"host": "gpu1", "instance": "main", "ts": utc(AT_S)}
ERROR = ErrorInfo(kind="format", message="x.eer: it ends early.", hint="Copy it again.")


def one_of_each() -> list[Event]:
    return [
        events.step_started(SUBJECTS, TASK, at_s=AT_S),
        events.step_progress(SUBJECTS, TASK, current=3, total=12, unit="frames", at_s=AT_S),
        events.step_completed(
            SUBJECTS,
            TASK,
            output_files=["ctf/N.star"],
            metrics={"defocus_u_ang": 5881.6, "phase_plate": False},
            at_s=AT_S,
        ),
        events.step_failed(SUBJECTS, TASK, error=ERROR, at_s=AT_S),
        events.step_cancelled(SUBJECTS, TASK, reason="by hand", asked_by="ana", at_s=AT_S),
        events.step_skipped(SUBJECTS, TASK, reason="gate ctf", at_s=AT_S),
        events.job_started(SUBJECTS, JOB, steps=["motioncor", "ctf"], at_s=AT_S),
        events.job_progress(SUBJECTS, JOB, tasks={"pending": 3}, percent=25.0, at_s=AT_S),
        events.job_completed(SUBJECTS, JOB, tasks={"completed": 4}, at_s=AT_S),
        events.job_cancelled(SUBJECTS, JOB, asked_by="ana", at_s=AT_S),
        events.session_imported(
            SUBJECTS, SESSION, job_id=JOB.job_id, raw_directory="/gpfs/a", home="/home/a", image_count=3, at_s=AT_S
        ),
        events.session_closed(SUBJECTS, SESSION, reason="idle", at_s=AT_S),
        events.session_reopened(SUBJECTS, SESSION, reason="a new movie came", at_s=AT_S),
        events.movie_seen(SUBJECTS, SESSION, size_bytes=1, at_s=AT_S, **MOVIE),
        events.movie_complete(SUBJECTS, SESSION, size_bytes=1, image_id="i", image_name="x", at_s=AT_S, **MOVIE),
        events.movie_quarantined(SUBJECTS, SESSION, reason="zeros at the end", at_s=AT_S, **MOVIE),
        events.image_marked(
            SUBJECTS,
            SESSION,
            image_id=TASK.image_id,
            image_name="24dec03a_00001ex",
            passes=False,
            asked_by="ada@scope1 (operator)",
            why="crack in the ice",
            at_s=AT_S,
        ),
        events.advice(
            SUBJECTS, SESSION, advice_id="a", kind="square", severity="warning", message="thick ice", at_s=AT_S
        ),
        events.notification(SUBJECTS, SESSION, notification_id="n", severity="info", message="disk 80 %", at_s=AT_S),
        events.log_line(
            SUBJECTS,
            kinds.LogLine(ts=utc(AT_S), job_id=TASK.job_id, task_id=TASK.task_id, level="info", message="fit to 4.6 Å"),
        ),
        events.stage_heartbeat(
            SUBJECTS,
            kinds.StageHeartbeat(
                category="ctf", stage="ctf_estimation", waiting=1, running=1, completed=2, failed=0, **BEAT
            ),
        ),
        events.node_heartbeat(
            SUBJECTS,
            kinds.NodeHeartbeat(
                pid=1, version="0", uptime_s=1.5, cpu_percent=None, memory_used_bytes=1, devices=[], queues={}, **BEAT
            ),
        ),
    ]


def test_every_kind_of_the_catalogue_has_its_function_and_comes_back_typed() -> None:
    made = one_of_each()
    assert [event.envelope.type for event in made] == [kind.name for kind in EVENT_KINDS]
    for event, kind in zip(made, EVENT_KINDS, strict=True):
        received = decode_envelope(event.body())
        assert received == event.envelope
        data = read_data(received)
        assert type(data) is kind.data
        assert data.ts == received.time == utc(AT_S)
        assert received.subject == event.subject


def test_durable_kinds_lie_on_subjects_that_a_stream_keeps() -> None:
    for event, kind in zip(one_of_each(), EVENT_KINDS, strict=True):
        if kind.durable:
            assert SUBJECTS.stream_of(event.subject), event.subject


def test_ids_are_the_same_for_the_same_fact_and_differ_between_facts() -> None:
    first, again = one_of_each(), one_of_each()
    assert [event.id for event in first] == [event.id for event in again]
    assert len({event.id for event in first}) == len(first)


def test_the_id_of_a_state_does_not_depend_on_when_it_is_told() -> None:
    later = events.step_completed(SUBJECTS, TASK, output_files=[], metrics={}, at_s=AT_S + 5)
    sooner = events.step_completed(SUBJECTS, TASK, output_files=[], metrics={}, at_s=AT_S)
    assert later.id == sooner.id


def test_a_second_attempt_and_a_second_cancellation_are_new_facts() -> None:
    second = dataclasses.replace(TASK, attempt=2)
    assert events.step_started(SUBJECTS, second, at_s=AT_S).id != events.step_started(SUBJECTS, TASK, at_s=AT_S).id
    once = events.step_cancelled(SUBJECTS, TASK, reason="", at_s=AT_S)
    twice = events.step_cancelled(SUBJECTS, TASK, reason="", at_s=AT_S + 60)
    assert once.id != twice.id


@pytest.mark.parametrize(
    ("current", "total", "percent"), [(0, 10, 0.0), (3, 12, 25.0), (12, 10, 100.0), (1, 0, 0.0), (-1, 5, 0.0)]
)
def test_progress_has_a_percentage_that_any_bar_can_draw(current: int, total: int, percent: float) -> None:
    event = events.step_progress(SUBJECTS, TASK, current=current, total=total, unit="frames", at_s=AT_S)
    assert event.envelope.data["percent"] == percent


def test_unknown_types_and_wrong_data_are_refused_by_name() -> None:
    event = one_of_each()[0].envelope
    with pytest.raises(MessageInvalid, match=r"'magellon\.step\.exploded'"):
        read_data(msgspec.structs.replace(event, type="magellon.step.exploded"))
    with pytest.raises(MessageInvalid, match="attempt"):
        read_data(msgspec.structs.replace(event, data=event.data | {"attempt": "one"}))


def test_fields_of_newer_daemons_are_ignored() -> None:
    event = one_of_each()[0].envelope
    assert read_data(msgspec.structs.replace(event, data=event.data | {"gpu": 3})) == read_data(event)


class MagellonStep(msgspec.Struct):
    """What Magellon's own subscribers read from a step event."""

    job_id: UUID
    step: str
    ts: datetime
    task_id: UUID | None = None
    percent: float | None = None
    message: str | None = None
    output_files: list[str] = []


@pytest.mark.skipif(not WIRE.is_dir(), reason="real Magellon messages (shared data) are not on this machine")
@pytest.mark.parametrize("name", ["taskresult_motioncor_1.json", "taskresult_ctf_2.json"])
def test_subscribers_written_for_magellon_can_read_steps_of_real_jobs(name: str) -> None:
    real = json.loads((WIRE / name).read_text())
    slug = {"MotionCor": "motioncor", "CTF": "ctf"}[real["type"]["name"]]
    task = events.TaskRef(real["job_id"], real["task_id"], real["image_id"], Path(real["image_path"]).stem, slug, 1)
    paths = [file["path"] for file in real.get("output_files") or []]
    for event in (
        events.step_started(SUBJECTS, task, at_s=AT_S),
        events.step_progress(SUBJECTS, task, current=1, total=2, unit="frames", at_s=AT_S, message="aligning"),
        events.step_completed(SUBJECTS, task, output_files=paths, metrics={}, at_s=AT_S),
    ):
        assert event.subject == f"magellon.job.{real['job_id']}.step.{slug}"
        read = msgspec.convert(decode_envelope(event.body()).data, MagellonStep)
        assert (str(read.job_id), str(read.task_id), read.step) == (real["job_id"], real["task_id"], slug)
    assert read.output_files == paths
