"""One session under watch, from files on disk to what its intake is told."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
import structlog

from daemon.domain.movie import FileIdentity
from daemon.sessions.series_names import TILT_SERIES
from daemon.watchers.directory import PollSettings
from daemon.watchers.discovery import WatchSettings
from daemon.watchers.found import ChangedFile, FoundFile, IgnoredFile, KnownFile, RefusedMovie, WatchProblem
from daemon.watchers.ledger_sink import LedgerSink
from daemon.watchers.session_watch import WatchPlan, hurried, selects, watch_session
from daemon.watchers.settle import SettleRule
from tests.sessions.desk import identify
from tests.watchers.stand_ins import StepClock, write_small_mrc


@dataclass
class Intake:
    """Keeps what it is told."""

    told: list[tuple[str, object]] = field(default_factory=list)

    async def seen(self, files: Sequence[FileIdentity]) -> None:
        self.told.append(("seen", list(files)))

    async def complete(self, identity: FileIdentity, frame_count: int | None, reason: str) -> None:
        self.told.append(("complete", (identity, frame_count, reason)))

    async def quarantined(self, identity: FileIdentity, reason: str) -> None:
        self.told.append(("quarantined", (identity, reason)))

    async def ignored(self, files: Sequence[tuple[FileIdentity, str]]) -> None:
        self.told.append(("ignored", list(files)))

    async def vanished(self, files: Sequence[FileIdentity]) -> None:
        self.told.append(("vanished", list(files)))

    async def rewritten(self, before: FileIdentity, now: FileIdentity) -> None:
        self.told.append(("rewritten", (before, now)))


@pytest.mark.anyio
async def test_the_sink_speaks_the_words_of_the_domain() -> None:
    intake = Intake()
    sink = LedgerSink("s", intake)
    one, two = FileIdentity(Path("/r/x.tif"), 1, 2), FileIdentity(Path("/r/x.tif"), 3, 4)
    await sink.seen([FoundFile(one, 0.0)])
    await sink.ignored([IgnoredFile(two, "no movie")])
    await sink.tallied({".xml": 900, "": 2})
    await sink.quarantined(RefusedMovie(one, "cut short"))
    await sink.vanished([one])
    await sink.rewritten([ChangedFile(one, FoundFile(two, 1.0))])
    await sink.troubled([WatchProblem(Path("/r"), "permission denied")])
    await sink.recovered([Path("/r")])
    assert intake.told == [
        ("seen", [one]),
        ("ignored", [(two, "no movie")]),
        ("quarantined", (one, "cut short")),
        ("vanished", [one]),
        ("rewritten", (one, two)),
    ]


class Places:
    """Keeps what it is told of places that cannot be watched."""

    def __init__(self) -> None:
        self.told: list[object] = []

    async def begin(self, troubles: Sequence[tuple[Path, str, str]]) -> None:
        self.told += troubles

    async def end(self, paths: Sequence[Path]) -> None:
        self.told += paths


@pytest.mark.anyio
async def test_what_lasts_is_told_and_what_passes_stands_in_the_log_alone() -> None:
    places = Places()
    sink = LedgerSink("s", Intake(), places)
    slow = WatchProblem(Path("/r/x.tif"), "reading it has not returned for 5 s", is_passing=True)
    with structlog.testing.capture_logs() as lines:
        await sink.troubled([slow, WatchProblem(Path("/r/a"), "cannot be watched", "let us")])
        await sink.troubled([slow])
        await sink.recovered([Path("/r/a")])
    assert places.told == [(Path("/r/a"), "cannot be watched", "let us"), Path("/r/a")]
    assert [line["path"] for line in lines if line["log_level"] == "warning"] == ["/r/x.tif", "/r/a", "/r/x.tif"]


@pytest.mark.anyio
async def test_a_session_watched_again_knows_the_series_that_goes_on(tmp_path: Path) -> None:
    raw, notes, intake, clock = tmp_path / "raw", tmp_path / "notes", Intake(), StepClock()
    raw.mkdir()
    notes.mkdir()
    movies = [raw / f"x{n}.mrc" for n in range(4)]
    for n, movie in enumerate(movies):
        write_small_mrc(movie)
        (notes / f"{n}").write_text(f"[ZValue = 0]\nTiltAngle = {3 * n}\nStagePosition = 1 2\n")
        movie.with_name(f"{movie.name}.mdoc").symlink_to(notes / f"{n}")
    rule = SettleRule(min_quiet_s=1.0)
    plan = WatchPlan(rule, WatchSettings(), PollSettings(), None, allowed_roots=(notes,), forbidden=())
    known = (KnownFile(identify(movie), settled=True) for movie in movies[:3])
    discoverer = watch_session(plan, "s", raw, intake, known, expected_frames=lambda _: 2, clock=clock)
    await discoverer.scan()
    async with anyio.create_task_group() as group:
        while not discoverer.is_settled:
            clock.now_s += 1.0
            discoverer.start_looks(group)
            await anyio.lowlevel.checkpoint()
    judged = [said for what, said in intake.told if what == "ignored" and said != []]
    assert [(identify(movies[3]), TILT_SERIES)] in judged
    assert "complete" not in [what for what, _ in intake.told]


def test_a_finished_directory_is_judged_after_one_wait() -> None:
    rule = SettleRule()
    quick = hurried(rule)
    longest_s = max(
        quick.unknown_count_wait_s,
        quick.short_count_wait_s,
        quick.zero_tail_wait_s,
        quick.blank_frames_wait_s,
        quick.give_up_s,
    )
    assert longest_s <= max(rule.min_quiet_s, rule.unknown_count_wait_s)
    assert (quick.min_quiet_s, quick.stable_polls, quick.min_frames) == (
        rule.min_quiet_s,
        rule.stable_polls,
        rule.min_frames,
    )


@pytest.mark.parametrize(
    ("pattern", "relative", "chosen"),
    [
        (None, "frames/x.tif", True),
        ("*", "frames/x.tif", True),
        ("*_fractions.tiff", "frames/x.tif", False),
        ("*_fractions.tiff", "frames/x_fractions.tiff", True),
        (None, "gains/x.tif", False),
        (None, "frames/.x.tif.AbC", False),
        (None, ".hidden/x.tif", False),
        (None, "frames/x.tif.part", False),
        (None, "frames/x.xml", False),
    ],
)
def test_the_audit_takes_the_watchers_word_for_what_is_a_movie(
    pattern: str | None, relative: str, chosen: bool
) -> None:
    assert selects(pattern)(Path(relative)) is chosen
