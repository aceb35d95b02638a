"""A corrected acquisition reaches what was made with the old one: the stages that used a changed value run again."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from daemon.domain.acquisition import Acquisition
from daemon.domain.movie import LedgerEntry
from daemon.domain.session import ImageRecord
from daemon.domain.states import MovieState, TaskState
from daemon.pipeline.graph import AnyStage, StageGraph
from daemon.store import ledger, tasks
from daemon.store.changes import Change, MoveMovie, PutBackTasks
from daemon.store.rows import TaskRow, encode_acquisition
from daemon.store.store import Store

CAUSE = "acquisition changed"
_BY_IMPORT = "import"
"""Who asked, where no person did: a session.json or config.toml that was read again."""
MAY_REOPEN = (MovieState.COMPLETE, MovieState.DONE, MovieState.FAILED)
_MAY_RUN_AGAIN = frozenset(TaskState) - {TaskState.CANCELLED}
_WILL_BE = frozenset({TaskState.PENDING, TaskState.RUNNING, TaskState.COMPLETED})


@dataclass(frozen=True)
class Again:
    """A movie of which tasks run again, and why."""

    movie: LedgerEntry
    task_ids: tuple[str, ...]
    why: str


@dataclass(frozen=True)
class Reopening:
    """What runs again, and the values that changed."""

    again: Sequence[Again] = ()
    values: Sequence[str] = ()

    @property
    def movies(self) -> Sequence[LedgerEntry]:
        """The movies to offer once it is committed."""
        return [one.movie for one in self.again]

    @property
    def tasks(self) -> int:
        """How many tasks it is."""
        return sum(len(one.task_ids) for one in self.again)


def as_recorded(acquisition: Acquisition) -> dict[str, Any]:
    """Return an acquisition as records of tasks hold it.

    Without the optics group, whose number depends on others, and without who said how the gain lies: how it was used
    is in the record.
    """
    content: dict[str, Any] = json.loads(encode_acquisition(acquisition))
    content.pop("optics_group", None)
    if content.get("gain") is not None:
        content["gain"].pop("orientation", None)
    return content


def used_by(stage: AnyStage, acquisition: Acquisition) -> dict[str, Any]:
    """Return what this stage uses of an acquisition, as its records hold it: of other values nothing depends."""
    values = as_recorded(acquisition)
    return {name: values[name] for name in stage.acquisition if name in values}


def is_made_with(stage: AnyStage, recorded: Mapping[str, Any], acquisition: Acquisition) -> bool:
    """Whether a result whose record holds `recorded` is what this stage would make with this acquisition."""
    now = used_by(stage, acquisition)
    return all(recorded.get(name) == value for name, value in now.items())


async def plan_reopening(
    store: Store,
    graph: StageGraph,
    session_id: str,
    before: Iterable[ImageRecord],
    after: Mapping[str, ImageRecord],
) -> Reopening:
    """Find what was made, or could not be made, with values that are other ones now; `after` holds images by id."""
    changed: dict[str, tuple[str, ...]] = {}
    for image in before:
        new = after.get(image.image_id)
        if new is not None and new.acquisition != image.acquisition:
            old_values, new_values = as_recorded(image.acquisition), as_recorded(new.acquisition)
            changed[image.image_id] = tuple(name for name in new_values if old_values[name] != new_values[name])
    if not changed:
        return Reopening()
    owed: dict[str, list[TaskRow]] = {}
    for task in await tasks.tasks(store, session_id=session_id):
        owed.setdefault(task.movie_id or "", []).append(task)
    again: list[Again] = []
    for movie in await ledger.movies(store, session_id, MAY_REOPEN):
        names = changed.get(movie.image_id or "", ())
        affected = [stage.name for stage in graph.stages if set(stage.acquisition) & set(names)]
        chosen = tasks_to_reopen(graph, owed.get(movie.movie_id, ()), affected)
        if chosen:
            again.append(Again(movie, tuple(task.task_id for task in chosen), f"{', '.join(names)} changed"))
    return Reopening(again, tuple(sorted({name for names in changed.values() for name in names})))


def changes_for(again: Iterable[Again], asked_by: str) -> list[Change]:
    """Return the changes by which tasks of these movies run again."""
    alike: dict[str, list[Again]] = {}
    for one in again:
        alike.setdefault(one.why, []).append(one)
    return [
        change
        for why, found in alike.items()
        for change in reopen(
            [one.movie for one in found],
            [task_id for one in found for task_id in one.task_ids],
            why,
            asked_by or _BY_IMPORT,
        )
    ]


def tasks_to_reopen(graph: StageGraph, owed: Sequence[TaskRow], stages: Collection[str]) -> list[TaskRow]:
    """Return the tasks of these stages and of all that depends on them, as far as their inputs will be there.

    A task that a person cancelled stays cancelled. One that runs or waits is put back with the others, so that
    nothing is made, or believed, of an input that is to be made again; where all wait, nothing was made yet.
    """
    by_stage = {task.stage: task for task in owed}
    wanted = {*stages, *(below for stage in stages for below in graph.downstream(stage))}
    chosen: list[TaskRow] = []
    there = {stage for stage, task in by_stage.items() if task.state in _WILL_BE}
    for stage in graph.names:
        task = by_stage.get(stage)
        upstream = {name for name in graph.upstream(stage) if name in by_stage}
        if stage in wanted and task is not None and task.state in _MAY_RUN_AGAIN and upstream <= there:
            chosen.append(task)
            there.add(stage)
    return chosen if any(task.state is not TaskState.PENDING for task in chosen) else []


def reopen(
    movies: Iterable[LedgerEntry],
    task_ids: Iterable[str],
    why: str,
    asked_by: str = _BY_IMPORT,
    *,
    cause: str = CAUSE,
    parameters: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
) -> list[Change]:
    """Return the changes that put tasks of these movies back; nothing that they made before is believed any more.

    `parameters` gives, by stage, what a task runs with beside its stage's own; empty takes away what it had.
    """
    again = PutBackTasks(tuple(task_ids), why, asked_by, cause=cause, parameters=parameters, from_scratch=True)
    moves = [
        MoveMovie(movie.movie_id, MovieState.COMPLETE, why, cause=cause, asked_by=asked_by)
        for movie in movies
        if movie.state is not MovieState.COMPLETE
    ]
    # Tasks before their movies: of one that was superseded meanwhile they are refused.
    return [again, *moves]
