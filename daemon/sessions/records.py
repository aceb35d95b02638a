"""The session's own records: one JSON file for each task that ended, enough to rebuild the database.

A record holds no time and no attempt number: the same input gives the same bytes, however often
the work was interrupted.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from daemon.domain.identity import canonical_json
from daemon.domain.movie import FileIdentity
from daemon.domain.states import TaskState
from daemon.errors import FileNotWritten, FileUnreadable
from daemon.formats.atomic import write_atomically
from daemon.pipeline.result import MetricValue, OutputFile, TaskCompleted, TaskFailed
from daemon.sessions.folders import RECORDS
from daemon.sessions.references import References
from daemon.store.rows import decode_path, encode_path

SCHEMA = 1


@dataclass(frozen=True)
class TaskRecord:
    """What one task made of one image, with everything needed to believe it or to repeat it."""

    session_id: str
    session_name: str
    image_id: str
    image_name: str
    stage: str
    stage_version: int
    elcano_version: str
    parameters: Mapping[str, Any]
    parameters_hash: str
    movie: FileIdentity
    outcome: TaskCompleted | TaskFailed
    acquisition: Mapping[str, Any] = field(default_factory=dict)
    """How the image was taken, as it was known when the task ran."""
    references: References = field(default_factory=dict)
    """The files of the camera that the task read, as they stood when it began."""

    @property
    def state(self) -> TaskState:
        """Completed or failed."""
        return TaskState.COMPLETED if isinstance(self.outcome, TaskCompleted) else TaskState.FAILED


def records_folder(home: Path) -> Path:
    """Return where the records of all tasks lie, in a folder for each stage."""
    return home / RECORDS / "tasks"


def record_path(home: Path, stage: str, image_name: str) -> Path:
    """Return where the record of this task lies."""
    return records_folder(home) / stage / f"{image_name}.json"


def write_record(home: Path, record: TaskRecord, *, mode: int | None = None, group: str | None = None) -> None:
    """Write the record atomically, owned as outputs are. Raises FileNotWritten."""
    text = canonical_json(_to_json(record)) + "\n"
    path = record_path(home, record.stage, record.image_name)
    write_atomically(path, lambda path: _write_text(path, text), mode=mode, group=group)


def remove_record(home: Path, stage: str, image_name: str) -> None:
    """Remove a record whose result nobody wants any more; one that is not there is no matter."""
    path = record_path(home, stage, image_name)
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise FileNotWritten(path, error) from error


def remove_results(home: Path, stage: str, image_name: str) -> tuple[str, ...]:
    """Remove what a task that completed has written, the record last; return the paths, relative to the home.

    Raises FileNotWritten.
    """
    record = read_record(home, stage, image_name)
    outputs = record.outcome.outputs if record is not None and isinstance(record.outcome, TaskCompleted) else ()
    for output in outputs:
        path = home / output.path
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise FileNotWritten(path, error) from error
    remove_record(home, stage, image_name)
    return tuple(output.path for output in outputs)


def read_record(home: Path, stage: str, image_name: str) -> TaskRecord | None:
    """Read a record; None when there is none, or when it is damaged and the work must be done again."""
    path = record_path(home, stage, image_name)
    try:
        content = json.loads(path.read_bytes())
        return _from_json(content)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FileUnreadable(path, error) from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def outputs_stand(home: Path, outputs: tuple[OutputFile, ...]) -> bool:
    """Whether every output is on disk with the very bytes that its record states."""
    try:
        return all(
            (home / output.path).stat().st_size == output.size_bytes and _sha256(home / output.path) == output.sha256
            for output in outputs
        )
    except OSError:
        return False


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _to_json(record: TaskRecord) -> dict[str, Any]:
    content: dict[str, Any] = {
        "schema": SCHEMA,
        "session": {"id": record.session_id, "name": record.session_name},
        "image": {"id": record.image_id, "name": record.image_name},
        "stage": {"name": record.stage, "version": record.stage_version},
        "elcano_version": record.elcano_version,
        "parameters": dict(record.parameters),
        "parameters_hash": record.parameters_hash,
        "acquisition": dict(record.acquisition),
        "references": {name: dict(file) for name, file in record.references.items()},
        "movie": {
            "path": encode_path(record.movie.path),
            "size_bytes": record.movie.size_bytes,
            "mtime_ns": record.movie.mtime_ns,
        },
        "state": str(record.state),
    }
    match record.outcome:
        case TaskCompleted(outputs, metrics, warnings):
            content["outputs"] = [
                {"product": out.product, "path": out.path, "size_bytes": out.size_bytes, "sha256": out.sha256}
                for out in outputs
            ]
            content["metrics"] = dict(metrics)
            content["warnings"] = list(warnings)
        case TaskFailed(kind, message, retryable, hint):
            content["error"] = {"kind": kind, "message": message, "retryable": retryable, "hint": hint}
    return content


def _from_json(content: Mapping[str, Any]) -> TaskRecord:
    if content["schema"] != SCHEMA:
        raise ValueError(f"unknown schema {content['schema']}")
    outcome: TaskCompleted | TaskFailed
    if content["state"] == TaskState.COMPLETED:
        metrics: dict[str, MetricValue] = dict(content["metrics"])
        outputs = tuple(
            OutputFile(str(out["product"]), str(out["path"]), int(out["size_bytes"]), str(out["sha256"]))
            for out in content["outputs"]
        )
        outcome = TaskCompleted(outputs, metrics, tuple(content["warnings"]))
    else:
        error = content["error"]
        outcome = TaskFailed(error["kind"], error["message"], error["retryable"], error["hint"])
    movie = content["movie"]
    return TaskRecord(
        session_id=content["session"]["id"],
        session_name=content["session"]["name"],
        image_id=content["image"]["id"],
        image_name=content["image"]["name"],
        stage=content["stage"]["name"],
        stage_version=content["stage"]["version"],
        elcano_version=content["elcano_version"],
        parameters=content["parameters"],
        parameters_hash=content["parameters_hash"],
        movie=FileIdentity(decode_path(movie["path"]), movie["size_bytes"], movie["mtime_ns"]),
        outcome=outcome,
        acquisition=content["acquisition"],
        references=content.get("references", {}),
    )
