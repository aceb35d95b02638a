"""What people name in commands, found: sessions, stages, jobs, images; whatever is not there is refused with a hint."""

from collections.abc import Collection, Mapping

from daemon.domain.session import Session
from daemon.errors import CommandRefused
from daemon.pipeline.graph import StageGraph
from daemon.store import sessions
from daemon.store.rows import JobRow
from daemon.store.store import Store

_MOST_IMAGES = 1_000_000
_WHERE_LIMIT_S = 60.0


async def find_session(store: Store, named: str) -> Session:
    """Return a session by name or id. Raises CommandRefused."""
    rows = await sessions.sessions(store)
    for row in rows:
        if named in {row.session.session_id, row.session.name}:
            return row.session
    known = ", ".join(row.session.name for row in rows) or "none"
    raise CommandRefused(f"There is no session {named!r}.", hint=f"Known: {known}.")


async def find_session_id(store: Store, named: str | None) -> str | None:
    """Return the id of a session; None where none is named. Raises CommandRefused."""
    return None if named is None else (await find_session(store, named)).session_id


async def find_jobs(store: Store, named: str) -> list[JobRow]:
    """Return the job of this id, or those of the session of this name or id. Raises CommandRefused."""
    known = await sessions.jobs(store)
    by_id = [job for job in known if job.job_id == named]
    if by_id:
        return by_id
    session = await find_session(store, named)
    return [job for job in known if job.session_id == session.session_id]


def check_stage(graph: StageGraph, named: str | None) -> None:
    """Raise CommandRefused for a stage that does not run here; none named is fine."""
    if named is not None and named not in graph.names:
        raise CommandRefused(f"There is no stage {named!r}.", hint=f"Known: {', '.join(graph.names)}.")


async def find_images(
    store: Store, session_id: str | None, names: Collection[str], where: str | None
) -> Mapping[str, str] | None:
    """Return the names, by id, of the images so called for which an SQL condition holds; None where neither is given.

    Raises CommandRefused for a name that is not there, QueryRefused for a condition that is no SQL.
    """
    if where is not None:
        chosen = set(names)
        return {
            image_id: name
            for image_id, name in (await _images_where(store, session_id, where)).items()
            if not names or name in chosen
        }
    if not names:
        return None
    found = await sessions.named_images(store, session_id, names)
    missing = sorted(set(names) - set(found.values()))
    if missing:
        listed = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        raise CommandRefused(
            f"There is no micrograph {listed}.", hint="Names stand in: elcano query 'FROM micrographs'."
        )
    return found


async def _images_where(store: Store, session_id: str | None, condition: str) -> dict[str, str]:
    """Names by id of the images for which a person's condition holds."""
    # It is run away from the store, as one reading statement, like all SQL that people write.
    statement = f"SELECT image_id, name, session_id FROM micrographs WHERE (\n{condition}\n)"  # noqa: S608
    result = await store.user_query(statement, limit_rows=_MOST_IMAGES, timeout_s=_WHERE_LIMIT_S)
    if result.truncated:
        raise CommandRefused(f"The condition holds for more than {_MOST_IMAGES} images.", hint="Ask for fewer at once.")
    return {row[0]: row[1] for row in result.rows if session_id in {None, row[2]}}
