"""One small summary per job in a key-value bucket, for those who come late."""

import anyio
import msgspec
from nats.js.errors import BucketNotFoundError

from daemon.bus.connection import Connection
from daemon.bus.streams import bucket_config
from daemon.messages.event_data import JobSummary
from daemon.messages.subjects import Subjects, escape_token


class JobSummaries:
    """Keeps the bucket equal to the summaries it was given; only the latest of a job is written."""

    def __init__(self, subjects: Subjects, *, max_store_bytes: int = 2**30, interval_s: float = 0.5) -> None:
        self._subjects = subjects
        self._max_store_bytes = max_store_bytes
        self._interval_s = interval_s
        self._latest: dict[str, JobSummary] = {}
        self._changed: set[str] = set()
        self._wake = anyio.Event()

    def put(self, summary: JobSummary) -> None:
        """Take the latest summary of a job; from the thread of the event loop."""
        self._latest[summary.job_id] = summary
        self._changed.add(summary.job_id)
        self._wake.set()

    async def serve(self, connection: Connection) -> None:
        """Write over this connection until it is lost; all of them first, as the server may be a new one."""
        js = connection.client.jetstream()
        try:
            bucket = await js.key_value(self._subjects.job_bucket)
        except BucketNotFoundError:
            bucket = await js.create_key_value(bucket_config(self._subjects, self._max_store_bytes))
        self._changed = set(self._latest)
        while True:
            self._wake = anyio.Event()
            for job_id in sorted(self._changed):
                self._changed.discard(job_id)
                try:
                    await bucket.put(escape_token(job_id), msgspec.json.encode(self._latest[job_id]))
                except BaseException:
                    self._changed.add(job_id)
                    raise
            if not self._changed:
                await self._wake.wait()
            await anyio.sleep(self._interval_s)
