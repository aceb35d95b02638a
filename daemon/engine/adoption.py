"""Takes over work that is on disk already: the daemon died between writing it and telling the store."""

import anyio.to_thread
import structlog

from daemon.engine.recorder import Recorder
from daemon.engine.work import ImageWork
from daemon.errors import FileUnreadable
from daemon.pipeline.result import TaskCompleted
from daemon.sessions.records import TaskRecord, outputs_stand, read_record

log = structlog.get_logger(__name__)


async def adopt_finished(recorder: Recorder, work: ImageWork) -> frozenset[str]:
    """Complete the pending tasks whose record says that exactly this work was done; return their stages.

    The work is the same when session, image, movie, stage version and parameters are, nothing it was
    made from is to be made again, and every output stands with its size.
    """
    adopted: set[str] = set()
    for stage, task in work.pending.items():
        if stage not in recorder.graph.names or set(recorder.graph.upstream(stage)) & (work.pending.keys() - adopted):
            continue
        found = await anyio.to_thread.run_sync(_find, recorder, work, stage)
        if found is None:
            continue
        if await recorder.commit_completed(work, task, found, attempt=None, cause="found complete on disk"):
            adopted.add(stage)
    return frozenset(adopted)


def _find(recorder: Recorder, work: ImageWork, stage: str) -> TaskCompleted | None:
    home = work.session.home
    try:
        record = read_record(home, stage, work.image.name)
    except FileUnreadable as error:
        log.warning("record not read, the work is done again", stage=stage, image=work.image.name, reason=str(error))
        return None
    if record is None or not isinstance(record.outcome, TaskCompleted):
        return None
    if not _is_this_work(record, recorder, work, stage) or not outputs_stand(home, record.outcome.outputs):
        return None
    return record.outcome


def _is_this_work(record: TaskRecord, recorder: Recorder, work: ImageWork, stage: str) -> bool:
    return (
        record.session_id == work.session.session_id
        and record.image_id == work.image.image_id
        and record.stage_version == recorder.graph[stage].version
        and record.parameters_hash == recorder.settings.hashes[stage]
        and record.movie == work.movie.identity
    )
