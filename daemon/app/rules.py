"""What the settings say about importing and watching, in the words of those who do it."""

from pathlib import Path

from daemon.config.schema import Settings
from daemon.domain.session import Session
from daemon.engine.engine import Engine
from daemon.formats.detached import PatientCalls
from daemon.sessions.importing import ImportRules
from daemon.watchers.directory import PollSettings
from daemon.watchers.discovery import WatchSettings
from daemon.watchers.session_watch import WatchPlan, hurried
from daemon.watchers.settle import SettleRule


def import_rules(
    settings: Settings, engine: Engine, calls: PatientCalls, under_way: dict[Path, Session]
) -> ImportRules:
    """Return what every import obeys; `under_way` are those that go on now."""
    return ImportRules(
        roots=settings.allowed_roots,
        holders=settings.session_holders,
        home=settings.paths.home,
        umask=settings.output.umask_bits,
        group=settings.output.group,
        categories=tuple(dict.fromkeys(stage.category for stage in engine.graph.stages)),
        graph=engine.graph,
        deciding=engine.recorder.deciding,
        calls=calls,
        under_way=under_way,
    )


def watch_plan(settings: Settings, *, once: bool) -> WatchPlan:
    """Return how every session is watched; `once` settles files at the shortest waits."""
    watch = settings.watch
    rule = SettleRule(**watch.settle.model_dump(), look_every_s=watch.poll_min_s)
    return WatchPlan(
        rule=hurried(rule) if once else rule,
        watch=WatchSettings(
            poll_min_s=watch.poll_min_s, poll_max_s=watch.poll_max_s, kernel_hints=watch.hints and not once
        ),
        poll=PollSettings(rescan_s=watch.rescan_s),
        pattern=watch.pattern,
        allowed_roots=settings.allowed_roots,
        forbidden=(settings.paths.home,),
        leaves_series=watch.leave_tilt_series,
    )
