"""What a session is, kept beside its results, so that the home explains itself without the database."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from daemon.domain.identity import canonical_json
from daemon.domain.session import Session
from daemon.errors import ManifestInvalid, Problem
from daemon.formats.atomic import write_atomically
from daemon.sessions.folders import SessionFolders
from daemon.sessions.manifest import Manifest
from daemon.store.rows import encode_path


def write_session_record(
    folders: SessionFolders, session: Session, manifest: Manifest | None, stages: Sequence[str]
) -> None:
    """Write the record, in canonical JSON. Raises ManifestInvalid for what no file can hold, FileNotWritten."""

    def encode(path: Path) -> None:
        with path.open("wb") as file:
            file.writelines(part.encode() for part in _parts(session, manifest, stages))

    try:
        write_atomically(folders.session_record, encode, mode=folders.file_mode, group=folders.group)
    except UnicodeEncodeError as error:
        where = manifest.path if manifest is not None else session.raw_directory
        raise ManifestInvalid(where, [Problem("text", "holds half a character, which no file can hold")]) from error


def _parts(session: Session, manifest: Manifest | None, stages: Sequence[str]) -> Iterator[str]:
    """Yield the canonical JSON of the record image by image: of all in one piece, no other thread would run."""
    after = {
        "name": session.name,
        "raw_directory": encode_path(session.raw_directory),
        "schema": 1,
        "session_id": session.session_id,
        "stages": list(stages),
    }
    if session.former_directories:
        after["former_directories"] = [encode_path(place) for place in session.former_directories]
    acquisition = json.loads(json.dumps(session.acquisition, default=_plain))
    yield canonical_json({"acquisition": acquisition})[:-1] + ',"manifest":'
    if manifest is None:
        yield "null"
    else:
        yield '{"images":['
        for number, image in enumerate(manifest.images):
            yield ("," if number else "") + canonical_json(dict(image.raw))
        rest = {"metadata": manifest.metadata, "msession": manifest.msession, "project": manifest.project}
        yield "]," + canonical_json({name: dict(part) for name, part in rest.items()})[1:]
    yield "," + canonical_json(after)[1:] + "\n"


def _plain(value: object) -> Any:
    if isinstance(value, Path):
        return encode_path(value)
    return vars(value)
