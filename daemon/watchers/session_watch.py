"""One session under watch: poller, settle rule and ledger sink put together from what is known of it."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from daemon.domain.movie import FileIdentity
from daemon.domain.names import is_left_alone
from daemon.domain.stage_position import StagePosition
from daemon.watchers.directory import DirectoryPoller, PollSettings
from daemon.watchers.discovery import Discoverer, WatchSettings
from daemon.watchers.found import KnownFile
from daemon.watchers.ledger_sink import Intake, LedgerSink, Places
from daemon.watchers.selection import MovieSelection
from daemon.watchers.settle import SettleRule
from daemon.watchers.sidecars import TiltNotes
from daemon.watchers.unreadable import Unreadable


@dataclass(frozen=True)
class WatchPlan:
    """How every session is watched. `forbidden` places are never entered (the home).

    `leaves_series`: tilt series and diffraction are left alone, but for sessions that name their movies themselves.
    """

    rule: SettleRule
    watch: WatchSettings
    poll: PollSettings
    pattern: str | None
    allowed_roots: tuple[Path, ...]
    forbidden: tuple[Path, ...]
    leaves_series: bool = True


def watch_session(
    plan: WatchPlan,
    session_name: str,
    raw_directory: Path,
    intake: Intake,
    known: Iterable[KnownFile],
    *,
    expected_frames: Callable[[Path], int | None],
    pattern: str | None = None,
    clock: Callable[[], float] = time.monotonic,
    stage_of: Callable[[Path], StagePosition | None] = lambda _: None,
    given_up: Iterable[FileIdentity] = (),
    places: Places | None = None,
) -> Discoverer:
    """Return the discoverer of one session; `pattern` replaces the plan's, `given_up` could not be read before.

    `places` hears of folders that cannot be watched.
    """
    leaves_series, known = plan.leaves_series and pattern is None, tuple(known)
    poller = DirectoryPoller(
        raw_directory,
        selection=MovieSelection(_pattern(pattern or plan.pattern), leaves_series=leaves_series),
        settings=plan.poll,
        allowed_roots=plan.allowed_roots,
        forbidden=plan.forbidden,
        known=known,
    )
    return Discoverer(
        poller,
        LedgerSink(session_name, intake, places),
        expected_frames=expected_frames,
        rule=plan.rule,
        settings=plan.watch,
        clock=clock,
        tilts=TiltNotes(
            raw_directory, stage_of, leaves_series=leaves_series, allowed_roots=plan.allowed_roots, known=known
        ),
        unreadable=Unreadable(given_up),
    )


def hurried(rule: SettleRule) -> SettleRule:
    """Return the rule for a directory that nobody writes to any more: every doubt is decided after one wait."""
    wait_s = max(rule.min_quiet_s, min(rule.unknown_count_wait_s, rule.zero_tail_wait_s))
    return SettleRule(
        min_quiet_s=rule.min_quiet_s,
        stable_polls=rule.stable_polls,
        unknown_count_wait_s=min(rule.unknown_count_wait_s, wait_s),
        short_count_wait_s=min(rule.short_count_wait_s, wait_s),
        zero_tail_wait_s=min(rule.zero_tail_wait_s, wait_s),
        blank_frames_wait_s=min(rule.blank_frames_wait_s, wait_s),
        give_up_s=min(rule.give_up_s, wait_s),
        min_frames=rule.min_frames,
        look_every_s=rule.look_every_s,
        slowest_look_s=rule.slowest_look_s,
    )


def selects(pattern: str | None, *, leaves_series: bool = True) -> Callable[[Path], bool]:
    """Return the watcher's own test of whether a path inside a raw directory names a movie."""
    selection = MovieSelection(_pattern(pattern), leaves_series=leaves_series)

    def is_movie(relative: Path) -> bool:
        inside: Sequence[str] = relative.parts
        hidden_or_excluded = any(is_left_alone(part) for part in inside) or selection.excludes(inside[0])
        return not hidden_or_excluded and selection.classify(relative.as_posix()).value == "movie"

    return is_movie


def _pattern(pattern: str | None) -> str | None:
    return None if pattern == "*" else pattern
