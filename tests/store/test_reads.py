"""Typed reads, the outbox and the views."""

from pathlib import Path

import pytest

from daemon.domain.acquisition import Acquisition
from daemon.domain.movie import FileIdentity, LedgerEntry
from daemon.domain.session import ImageRecord
from daemon.domain.states import MovieState, TaskState
from daemon.store import artifacts, ledger, metrics, outbox, sessions, tasks
from daemon.store.changes import (
    ArtifactRecord,
    DropImages,
    EndTask,
    MoveMovie,
    NewTask,
    OutputRecord,
    PutArtifacts,
    PutBackTask,
    PutDecision,
    PutImages,
    PutMetrics,
    PutNotification,
    PutTasks,
    SeeMovie,
    StartAttempt,
)
from daemon.store.rows import KnownFile
from daemon.store.store import Store
from daemon.watchers.settle import UNREADABLE, History, Observation, Quarantine, SettleRule
from tests.store.conftest import Clock
from tests.store.records import NOW_S, begin, complete_movie, put_session, queue_event, see_movie

pytestmark = pytest.mark.anyio


async def test_known_files_gives_the_newest_revision_of_each(store: Store) -> None:
    await store.commit(*begin(), put_session("s2", "grid2"), see_movie("m1"), see_movie("other", session_id="s2"))
    path = Path("/raw/grid1/m1.tif")
    rewritten = LedgerEntry("m1b", "s1", FileIdentity(path, 2000, 99), 2, MovieState.SEEN, "", None, NOW_S, NOW_S)
    await store.commit(MoveMovie("m1", MovieState.SUPERSEDED), SeeMovie(rewritten, cause="rewritten"))
    bad_name = Path("/raw/grid1/\udce9tude.tif")
    strange = LedgerEntry("m2", "s1", FileIdentity(bad_name, 5, 6), 1, MovieState.SEEN, "", None, NOW_S, NOW_S)
    await store.commit(SeeMovie(strange), MoveMovie("m2", MovieState.QUARANTINED, reason=f"{bad_name} is short"))
    assert await ledger.known_files(store, "s1") == {
        path: KnownFile(2000, 99, "m1b", MovieState.SEEN),
        bad_name: KnownFile(5, 6, "m2", MovieState.QUARANTINED),
    }
    superseded = await ledger.movies(store, "s1", (MovieState.SUPERSEDED,))
    assert [entry.movie_id for entry in superseded] == ["m1"]


async def test_tasks_are_found_by_every_condition(store: Store) -> None:
    await store.commit(*begin(), *complete_movie(1), *complete_movie(2))
    await store.commit(EndTask("t1b", TaskState.SKIPPED, reason="gate ctf_resolution"))
    assert [t.task_id for t in await tasks.tasks(store, session_id="s1")] == ["t1a", "t1b", "t2a", "t2b"]
    assert [t.task_id for t in await tasks.tasks(store, image_id="i2", stage="ctf_estimation")] == ["t2b"]
    assert [t.task_id for t in await tasks.tasks(store, movie_id="m2")] == ["t2a", "t2b"]
    skipped = await tasks.tasks(store, job_id="j1", states=(TaskState.SKIPPED, TaskState.FAILED))
    assert [(t.task_id, t.reason) for t in skipped] == [("t1b", "gate ctf_resolution")]
    assert [t.task_id for t in await tasks.tasks(store, limit=1)] == ["t1a"]
    assert await tasks.tasks(store, session_id="s'; DROP TABLE task; --") == []
    assert await tasks.task(store, "nobody") is None


async def test_records_come_back_as_they_were_put(store: Store) -> None:
    image = ImageRecord(
        "i9", "s1", "näme", "i1", 3, Acquisition(pixel_size_ang=0.83), "frame.tif", {"dose": "4E1", "x": [1]}
    )
    parent = ImageRecord("i1", "s1", "grid", None, 1, Acquisition())
    notification = PutNotification("n1", "warning", "beam", "The beam is off.", "Look.", "s1", at_s=NOW_S)
    artifact = ArtifactRecord("s1", "reports/a.html", "report", 12, "ff", "hash", "report")
    await store.commit(*begin(), PutImages((image, parent)), notification, PutArtifacts((artifact,)))
    await store.commit(PutDecision("s1", "gain", "flip x"), PutDecision("s1", "frames", 40))
    await store.commit(PutDecision("s1", "gain", {"flip": "y", "of": None}))
    assert await sessions.images(store, "s1") == [parent, image]
    assert await sessions.image(store, "i9") == image
    assert await sessions.image(store, "nobody") is None
    assert await sessions.notifications(store, "s1") == [notification]
    assert await sessions.notifications(store, "s2") == []
    assert await artifacts.artifacts(store, "s1") == [artifact]
    assert await sessions.decisions(store, "s1") == {"gain": {"flip": "y", "of": None}, "frames": 40}
    row = await sessions.session(store, "s1")
    assert row is not None
    assert row.session == begin()[0].session  # type: ignore[union-attr]
    assert await sessions.session(store, "nobody") is None


async def test_images_of_interrupted_imports_are_told_from_those_of_sessions(store: Store) -> None:
    def image(image_id: str, session_id: str) -> ImageRecord:
        return ImageRecord(image_id, session_id, image_id, None, None, Acquisition())

    left = tuple(image(f"{session_id}{n}", session_id) for session_id in ("gone", "going") for n in range(2))
    await store.commit(*begin(), PutImages((image("i1", "s1"), *left)))
    assert await sessions.unfounded_sessions(store) == ["going", "gone"]
    named = ["i1", "gone0", "going0"]
    assert await sessions.foreign_image(store, "s2", named, ()) == image("i1", "s1")
    assert await sessions.foreign_image(store, "s2", named[1:], ()) is None
    assert await sessions.foreign_image(store, "s2", named[1:], {"going"}) == image("going0", "going")
    await store.commit(DropImages(("gone", "s1"), ("gone1",)))
    assert await sessions.images(store, "gone") == [image("gone1", "gone")]
    assert len(await sessions.images(store, "going")) == 2
    assert len(await sessions.images(store, "s1")) == 1, "a session that exists keeps its images"
    late = put_session("gone", "grid2"), PutImages((image("gone9", "gone"),)), DropImages(("gone",), ())
    await store.commit(*late)
    assert len(await sessions.images(store, "gone")) == 2, "it has come to be in the same breath"


async def test_outputs_replace_those_of_an_earlier_run(store: Store) -> None:
    await store.commit(*begin(), *complete_movie(1))
    for attempt, sha256 in ((1, "aa"), (2, "bb")):
        await store.commit(StartAttempt("t1a", attempt, f"h{attempt}"))
        outputs = (OutputRecord("aligned", "motioncor/x.mrc", attempt, sha256),)
        await store.commit(EndTask("t1a", TaskState.COMPLETED, attempt, outputs=outputs))
        if attempt == 1:
            await store.commit(PutBackTask("t1a", "other parameters", asked_by="ada"))
    assert await artifacts.artifacts(store, "s1", "i1") == [
        ArtifactRecord("s1", "motioncor/x.mrc", "aligned", 2, "bb", "h2", "motion_correction", "i1", "t1a")
    ]
    assert await artifacts.artifacts(store, "s1", "i2") == []


async def test_events_wait_in_order_until_published_and_are_pruned(store: Store, clock: Clock) -> None:
    await store.commit(queue_event(1), queue_event(2))
    await store.commit(queue_event(3))
    waiting = await outbox.unpublished(store, 2)
    assert [(row.seq, row.event_id, row.subject, row.body, row.stream) for row in waiting] == [
        (1, "e1", "magellon.test.1", b"body 1", None),
        (2, "e2", "magellon.test.2", b"body 2", None),
    ]
    await outbox.mark_published(store, [2])
    assert [row.seq for row in await outbox.unpublished(store)] == [1, 3]
    await outbox.mark_published(store, [])
    await outbox.mark_published(store, [1, 3])
    assert await outbox.unpublished(store) == []
    await store.commit(queue_event(4))
    assert [row.seq for row in await outbox.unpublished(store)] == [4]
    await outbox.mark_published(store, [4], at_s=NOW_S + 100)
    await outbox.prune(store, NOW_S + 50)
    kept = await store.read(lambda c: c.execute("SELECT seq FROM event").fetchall())
    assert kept == [(4,)]
    await outbox.prune(store, NOW_S + 5000)
    assert await store.read(lambda c: c.execute("SELECT seq FROM event").fetchall()) == [(4,)]


async def test_numbers_rise_after_everything_was_pruned(tmp_path: Path) -> None:
    path = tmp_path / "elcano.duckdb"
    with Store.open(path) as store:
        await store.commit(queue_event(1), queue_event(2))
        await outbox.mark_published(store, [1, 2], at_s=NOW_S)
        await outbox.prune(store, NOW_S + 1)
    with Store.open(path) as store:
        await store.commit(queue_event(3))
        assert [row.seq for row in await outbox.unpublished(store)] == [3]


async def test_views_exist_and_are_empty_in_a_new_store(tmp_path: Path) -> None:
    with Store.open(tmp_path / "elcano.duckdb") as store:
        await store.commit(*begin(), *complete_movie(1))
        (row,) = await metrics.micrographs(store, "s1")
        assert (row["name"], row["state"], row["drift_ang"], row["latency_s"]) == ("image1", "complete", None, None)
        assert "motion_correction" not in row
        assert await metrics.failures(store, "s1") == []
        assert await metrics.latency(store, "s1") is None


async def test_micrographs_shows_one_row_for_each_image(store: Store) -> None:
    await store.commit(*begin(), *complete_movie(1), *complete_movie(2))
    await store.commit(
        PutMetrics("motion_correction", "i1", "t1a", {"total_motion_ang": 12.5, "frames": 40}),
        PutMetrics(
            "ctf_estimation",
            "i1",
            "t1b",
            {"defocus_u_ang": 15e3, "defocus_v_ang": 14.8e3, "score": 0.4, "confident": False, "warning": "few rings"},
        ),
    )
    for task_id in ("t1a", "t1b"):
        await store.commit(StartAttempt(task_id, 1, "h"))
        await store.commit(EndTask(task_id, TaskState.COMPLETED, 1, ended_at_s=NOW_S + 15))
    await store.commit(MoveMovie("m1", MovieState.DONE, at_s=NOW_S + 700))
    # The file of image 2 was rewritten, and image 1 is reprocessed by another job.
    entry = LedgerEntry(
        "m2b", "s1", FileIdentity(Path("/raw/new.tif"), 1, 1), 2, MovieState.SEEN, "", "i2", NOW_S, NOW_S
    )
    await store.commit(MoveMovie("m2", MovieState.SUPERSEDED), SeeMovie(entry))
    again = NewTask("t1c", "j2", "s1", "i1", "m1", "motion_correction", 0)
    await store.commit(PutTasks((again,), at_s=NOW_S + 900))
    first, second = await metrics.micrographs(store, "s1")
    assert {**first, "seen_at": None} == {
        "session": "grid1", "name": "image1", "movie": "/raw/grid1/m1.tif", "state": "done", "drift_ang": 12.5,
        "defocus_u_ang": 15000.0, "defocus_v_ang": 14800.0, "astigmatism_ang": None, "astigmatism_angle_deg": None,
        "phase_shift_deg": None, "fit_resolution_ang": None, "score": 0.4, "ice_ring": None, "ctf_confident": False,
        "ctf_warning": "few rings", "motion_warning": None, "ctf_estimation": "completed",
        "optics_group": 1, "passes": None, "gate": None, "gate_reason": None,
        "motion_correction": "pending", "latency_s": 20.0, "seen_at": None, "image_id": "i1", "movie_id": "m1",
        "session_id": "s1",
    }  # fmt: skip
    assert (second["name"], second["movie"], second["state"]) == ("image2", "/raw/new.tif", "seen")
    assert [row["name"] for row in await metrics.micrographs(store, "s1", limit=1, offset=1)] == ["image2"]
    assert await ledger.last_seen_s(store, "s1") == NOW_S
    assert await ledger.last_seen_s(store, "s2") is None
    (numbers,) = await metrics.stage_rows(store, "motion_correction", "s1", limit=5)
    assert (numbers["name"], numbers["total_motion_ang"], numbers["frames"]) == ("image1", 12.5, 40)
    assert await metrics.stage_rows(store, "unheard_of") == []
    assert await metrics.count_unknown(store, "unheard_of", "score", "s1") == 0
    unknown = [await metrics.count_unknown(store, "motion_correction", name, "s1") for name in ("frames", "warning")]
    assert unknown == [0, 1]
    assert await metrics.count_unknown(store, "motion_correction", "warning", "s2") == 0
    remarked = {
        words: await metrics.count_remarked(store, "ctf_estimation", words, "s1") for words in ("w rin", "ice", "%")
    }
    assert remarked == {"w rin": (1, "image1"), "ice": (0, ""), "%": (0, "")}
    assert await metrics.count_remarked(store, "unheard_of", "few", "s1") == (0, "")
    assert await metrics.trusted_defocus_ang(store, "s1") == [], "the one fit is not to be trusted"
    numbers = {"defocus_u_ang": 15_000.0, "defocus_v_ang": 14_800.0, "confident": True}
    await store.commit(PutMetrics("ctf_estimation", "i1", "t1b", numbers))
    assert await metrics.trusted_defocus_ang(store, "s1") == [14_900.0]
    found = await metrics.latency(store, "s1")
    assert found == metrics.Latency(count=1, p50_s=20.0, p95_s=20.0)
    throughput = await store.user_query("SELECT seen, complete, done FROM throughput ORDER BY ten_minutes_from")
    assert throughput.rows == ((3, 2, 0), (0, 0, 1))


async def test_latency_is_that_of_the_first_completion_that_nobody_asked_for(store: Store) -> None:
    def put_back() -> PutBackTask:
        return PutBackTask(task_id, "again", cause="retry", asked_by="ada")

    await store.commit(*begin(), *complete_movie(1), *complete_movie(2))
    for task_id, ends in (
        ("t1b", (TaskState.COMPLETED, TaskState.COMPLETED)),  # reprocessed
        ("t2b", (TaskState.FAILED, TaskState.COMPLETED)),  # a value was supplied
    ):
        for attempt, (state, after_s) in enumerate(zip(ends, (15, 5000), strict=True), start=1):
            await store.commit(StartAttempt(task_id, attempt, "h"))
            await store.commit(EndTask(task_id, state, attempt, ended_at_s=NOW_S + after_s))
            if attempt == 1:
                await store.commit(put_back())
    found = await metrics.latency(store, "s1")
    assert found == metrics.Latency(count=1, p50_s=20.0, p95_s=20.0)
    assert [row["latency_s"] for row in await metrics.micrographs(store, "s1")] == [20.0, None]


async def test_failures_tells_tasks_and_quarantined_movies(store: Store) -> None:
    await store.commit(*begin(), *complete_movie(1), see_movie("m2"))
    await store.commit(StartAttempt("t1a", 1, "h"))
    await store.commit(
        EndTask(
            "t1a", TaskState.FAILED, 1, reason="gain does not fit", kind="gain_unsuitable", hint="name the right one"
        ),
        MoveMovie("m2", MovieState.QUARANTINED, reason="cut short", at_s=NOW_S + 9),
    )
    rows = await metrics.failures(store, "s1")
    told = [(row["what"], row["name"], row["stage"], row["reason"], row["hint"], row["movie"]) for row in rows]
    assert told == [
        ("task", "image1", "motion_correction", "gain does not fit", "name the right one", "/raw/grid1/m1.tif"),
        ("movie", "", "", "cut short", "", "/raw/grid1/m2.tif"),
    ]


@pytest.mark.parametrize("earlier", ["", " Of the same exposure, /raw/a: b.tif was given up before: 0 bytes. Copy."])
async def test_what_to_do_about_a_movie_that_never_became_whole_is_a_hint(store: Store, earlier: str) -> None:
    looks = {
        "m1": (Observation(0.0, 9, 1, problem="cannot be read: Permission denied"), UNREADABLE),
        "m2": (Observation(0.0, 0, 1), "copy the movie again from the camera while the original is still there, or re"),
    }
    await store.commit(*begin())
    for movie_id, (look, _) in looks.items():
        verdict = SettleRule().judge(History(-1e6, 9, look), expected_frames=None)
        assert isinstance(verdict, Quarantine)
        reason = verdict.reason + earlier
        await store.commit(
            see_movie(movie_id),
            MoveMovie(movie_id, MovieState.QUARANTINED, reason=reason, at_s=NOW_S + int(movie_id[1])),
        )
    for row, (_, advice) in zip(await metrics.failures(store, "s1"), looks.values(), strict=True):
        assert row["hint"].startswith(advice[0].upper() + advice[1:])
        assert row["hint"].endswith(".")
        assert row["reason"].endswith(f". Nothing changed for 16667 min.{earlier}")
        assert advice not in row["reason"]
