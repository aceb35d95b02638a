"""Files of ours, known by content."""

from daemon.domain.identity import stable_id
from daemon.store.changes import ArtifactRecord, OutputRecord, PutArtifacts
from daemon.store.connection import Connection
from daemon.store.plan import Plan
from daemon.store.reading import Reads
from daemon.store.rows import TaskRow, to_timestamp


def put_artifacts(change: PutArtifacts, plan: Plan) -> None:
    """Enter files that no single task wrote."""
    at_s = plan.at(change.at_s)
    for artifact in change.artifacts:
        _put(artifact, at_s, plan)


def put_output(output: OutputRecord, task: TaskRow, parameters_hash: str, at_s: float, plan: Plan) -> None:
    """Enter a file that a task wrote."""
    artifact = ArtifactRecord(
        session_id=task.session_id,
        path=output.path,
        kind=output.kind,
        size_bytes=output.size_bytes,
        sha256=output.sha256,
        parameters_hash=parameters_hash,
        producer=task.stage,
        image_id=task.image_id,
        task_id=task.task_id,
    )
    _put(artifact, at_s, plan)


def _put(artifact: ArtifactRecord, at_s: float, plan: Plan) -> None:
    artifact_id = stable_id("artifact", artifact.session_id, artifact.path)
    plan.upsert(
        "artifact",
        {
            "artifact_id": artifact_id,
            "session_id": artifact.session_id,
            "path": artifact.path,
            "kind": artifact.kind,
            "size_bytes": artifact.size_bytes,
            "sha256": artifact.sha256,
            "parameters_hash": artifact.parameters_hash,
            "producer": artifact.producer,
            "image_id": artifact.image_id,
            "task_id": artifact.task_id,
            "written_at": to_timestamp(at_s),
        },
        artifact_id,
    )


async def artifacts(store: Reads, session_id: str, image_id: str | None = None) -> list[ArtifactRecord]:
    """Files of a session, or of one image, by path."""

    def read(connection: Connection) -> list[ArtifactRecord]:
        rows = connection.execute(
            "SELECT session_id, path, kind, size_bytes, sha256, parameters_hash, producer, image_id, task_id "
            "FROM artifact WHERE session_id = $session AND ($image IS NULL OR image_id = $image) ORDER BY path",
            {"session": session_id, "image": image_id},
        ).fetchall()
        return [ArtifactRecord(*row) for row in rows]

    return await store.read(read)
