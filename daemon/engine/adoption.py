"""Takes over work that is on disk already: the daemon died between writing it and telling the store."""

from collections.abc import Sequence
from pathlib import Path

import anyio.to_thread
import structlog

from daemon import __version__
from daemon.engine.recorder import Recorder
from daemon.engine.work import ImageWork
from daemon.errors import FileUnreadable, IllegalMove
from daemon.pipeline.graph import AnyStage
from daemon.pipeline.result import OutputFile, TaskCompleted
from daemon.sessions.outdated import is_made_with
from daemon.sessions.present_place import follow_record
from daemon.sessions.records import TaskRecord, outputs_stand, read_record
from daemon.sessions.references import References

log = structlog.get_logger(__name__)


async def adopt_finished(recorder: Recorder, work: ImageWork) -> frozenset[str]:
    """Complete the pending tasks whose record says that exactly this work was done; return their stages.

    The work is the same when session, image, movie, parameters, versions and what it used of the acquisition are,
    nothing it was made from is to be made again, and every output stands with its bytes.
    """
    adopted: set[str] = set()
    for stage, task in work.pending.items():
        if task.from_scratch:
            continue
        if stage not in recorder.graph.names or set(recorder.graph.upstream(stage)) & (work.pending.keys() - adopted):
            continue
        references = await recorder.look_at_references(work, stage)
        found = await anyio.to_thread.run_sync(_find, recorder, work, stage, references)
        if found is None:
            continue
        try:
            taken = await recorder.commit_completed(work, task, found, attempt=None, cause="found complete on disk")
        except IllegalMove as error:
            # Figures that do not fit their columns: somebody edited the record.
            log.warning(
                "what was made of this movie before cannot be taken over: it is made again",
                stage=stage,
                image=work.image.name,
                reason=str(error),
            )
            continue
        if taken:
            adopted.add(stage)
    if adopted:
        # Of a daemon that died, or of a database put back from an older copy: then it is many, and to be seen.
        log.info("found complete on disk and taken over", image=work.image.name, stages=sorted(adopted))
    return frozenset(adopted)


def _find(recorder: Recorder, work: ImageWork, stage: str, references: References) -> TaskCompleted | None:
    home = work.session.home
    try:
        record = read_record(home, stage, work.image.name)
    except FileUnreadable as error:
        log.warning(
            "what was made of this movie before cannot be read: it is made again",
            stage=stage,
            image=work.image.name,
            reason=str(error),
        )
        return None
    if record is None or not isinstance(record.outcome, TaskCompleted):
        return None
    read = follow_record(record.references, work.session)
    if not _is_this_work(record, recorder, work, stage) or read != references:
        return None
    outputs = record.outcome.outputs
    if not _are_its_products(outputs, recorder.graph[stage], work.image.name) or not outputs_stand(home, outputs):
        return None
    return record.outcome


def _are_its_products(outputs: Sequence[OutputFile], stage: AnyStage, image_name: str) -> bool:
    """Whether a record names exactly files that the stage makes, and all that it always makes."""
    places = {product.name: product.path(Path(), image_name).as_posix() for product in stage.produces}
    owed = {product.name for product in stage.produces} - {product.name for product in stage.optional}
    named = {output.product for output in outputs}
    return owed <= named and all(places.get(output.product) == output.path for output in outputs)


def _is_this_work(record: TaskRecord, recorder: Recorder, work: ImageWork, stage: str) -> bool:
    return (
        record.session_id == work.session.session_id
        and record.image_id == work.image.image_id
        and record.stage_version == recorder.graph[stage].version
        and record.parameters_hash == work.settings.hashes[stage]
        and record.elcano_version == __version__
        # A movie that was moved is the same movie.
        and record.movie.size_bytes == work.movie.identity.size_bytes
        and record.movie.mtime_ns == work.movie.identity.mtime_ns
        and is_made_with(recorder.graph[stage], follow_record(record.acquisition, work.session), work.image.acquisition)
    )
