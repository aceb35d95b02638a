"""How many tasks belong to movies that were left alone; counted anew only for sessions that have changed since."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from daemon.domain.states import LEFT_ALONE, TaskState
from daemon.store.connection import Connection
from daemon.store.reading import Reads

StageCounts: TypeAlias = dict[str, Counter[TaskState]]
"""Tasks of a job by stage and state."""

_COUNT = """
SELECT movie.session_id, job_id, stage, task.state, count(*)
FROM task JOIN movie USING (movie_id)
WHERE movie.session_id IN (SELECT unnest(?::VARCHAR[])) AND list_contains(?, movie.state)
GROUP BY ALL ORDER BY ALL
"""


class LeftTasks:
    """Remembers counts by session, each with how often the session had changed before it was counted."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads
        self._counted: dict[str, tuple[int, dict[str, StageCounts]]] = {}

    async def count(self, changes: Mapping[str, int]) -> dict[str, StageCounts]:
        """Return counts by job of these sessions, given how often each has changed by now; one query at most."""
        stale = [key for key, number in changes.items() if key not in self._counted or self._counted[key][0] != number]
        if stale:
            fresh = await self._reads.read(lambda connection: _count(connection, stale))
            self._counted.update((key, (changes[key], fresh[key])) for key in stale)
        return {job_id: counts for key in changes for job_id, counts in self._counted[key][1].items()}


def _count(connection: Connection, session_ids: Sequence[str]) -> dict[str, dict[str, StageCounts]]:
    found: dict[str, dict[str, StageCounts]] = {session_id: {} for session_id in session_ids}
    rows = connection.execute(_COUNT, [list(session_ids), [state.value for state in LEFT_ALONE]]).fetchall()
    for session_id, job_id, stage, state, count in rows:
        found[session_id].setdefault(job_id, {}).setdefault(stage, Counter())[TaskState(state)] = count
    return found
