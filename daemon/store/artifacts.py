"""Files of ours, known by content."""

from dataclasses import dataclass

from daemon.domain.identity import stable_id
from daemon.store.changes import ArtifactRecord, OutputRecord, PutArtifacts
from daemon.store.connection import Connection
from daemon.store.plan import Plan
from daemon.store.reading import Reads
from daemon.store.rows import TaskRow, convert, to_seconds, to_timestamp


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


async def count_artifacts(store: Reads, session_id: str | None = None) -> list[tuple[str, str, str, str, int, int]]:
    """Session, stage, kind, folder, number and size of all files, the largest lot first; of one session or of all."""

    def read(connection: Connection) -> list[tuple[str, str, str, str, int, int]]:
        rows = connection.execute(
            "SELECT session_id, producer, kind, split_part(path, '/', 1) AS category, count(*), "
            "sum(size_bytes)::BIGINT AS size FROM artifact WHERE $session IS NULL OR session_id = $session "
            "GROUP BY session_id, producer, kind, category ORDER BY size DESC, session_id, producer, kind, category",
            {"session": session_id},
        ).fetchall()
        return [(row[0], row[1], row[2], row[3], row[4], row[5]) for row in rows]

    return await store.read(read)


async def count_raw_files(store: Reads, session_id: str | None = None) -> tuple[int, int]:
    """Number and size of the movies that are linked, each file once; of one session or of all."""

    def read(connection: Connection) -> tuple[int, int]:
        row = connection.execute(
            "SELECT count(*), coalesce(sum(size_bytes), 0)::BIGINT FROM movie "
            "WHERE ($session IS NULL OR session_id = $session) AND state NOT IN ('superseded', 'vanished', 'ignored')",
            {"session": session_id},
        ).fetchone()
        return (0, 0) if row is None else (row[0], row[1])

    return await store.read(read)


@dataclass(frozen=True)
class FileRow:
    """One file with the name of its image; its path is relative to the session's home."""

    path: str
    stage: str
    kind: str
    image: str
    size_bytes: int
    written_at_s: float
    sha256: str


async def artifact_page(
    store: Reads,
    session_id: str,
    *,
    stage: str | None = None,
    kind: str | None = None,
    containing: str = "",
    offset: int = 0,
    limit: int = 200,
) -> tuple[int, list[FileRow]]:
    """Return how many files of a session are asked for, and those from `offset` on, by path."""
    where = (
        "FROM artifact LEFT JOIN image USING (image_id) WHERE artifact.session_id = $session "
        "AND ($stage IS NULL OR producer = $stage) AND ($kind IS NULL OR kind = $kind) "
        "AND contains(lower(path), lower($containing))"
    )
    asked = {"session": session_id, "stage": stage, "kind": kind, "containing": containing}

    def read(connection: Connection) -> tuple[int, list[FileRow]]:
        (total,) = connection.execute(f"SELECT count(*) {where}", asked).fetchone() or (0,)
        rows = connection.execute(
            "SELECT path, producer, kind, coalesce(image.name, ''), size_bytes, written_at, sha256 "
            f"{where} ORDER BY path LIMIT $limit OFFSET $offset",
            {**asked, "limit": limit, "offset": offset},
        ).fetchall()
        return total, [FileRow(*convert(row, {5: to_seconds})) for row in rows]

    return await store.read(read)


async def artifact(store: Reads, session_id: str, path: str) -> ArtifactRecord | None:
    """The record of one file, by its path relative to the session's home; None where no such file was written."""

    def read(connection: Connection) -> ArtifactRecord | None:
        row = connection.execute(
            "SELECT session_id, path, kind, size_bytes, sha256, parameters_hash, producer, image_id, task_id "
            "FROM artifact WHERE session_id = ? AND path = ?",
            [session_id, path],
        ).fetchone()
        return None if row is None else ArtifactRecord(*row)

    return await store.read(read)
