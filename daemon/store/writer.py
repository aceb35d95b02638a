"""The one thread that writes: whatever waits when it is free goes into one transaction."""

import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daemon.errors import IllegalMove, StoreUnavailable
from daemon.store import (
    artifacts,
    changes,
    controls,
    ledger,
    marks,
    metrics,
    moved_files,
    outbox,
    results,
    sessions,
    tasks,
)
from daemon.store.changes import Change
from daemon.store.connection import Connection, DatabaseError, DuplicateKey, explain_failed_commit
from daemon.store.current import CurrentRows
from daemon.store.plan import Plan
from daemon.store.writeset import WriteSet

_MOST_CHANGES = 4000
"""Changes after which a group is closed: about 0.1 s of writing, so that no caller waits for a long queue."""

_CHANGES_OF_A_THREAD = 20_000
"""After which another thread goes on. What a thread allocates from is scattered by what it has written: after 50,000
movies each statement took a quarter more than at first; on a new thread, or after opening anew, it does not."""

_HANDLERS: Mapping[type, Callable[[Any, Plan], None]] = {
    changes.PutSession: sessions.put_session,
    changes.CloseSession: sessions.close_session,
    changes.ReopenSession: sessions.reopen_session,
    changes.MoveFiles: moved_files.move_files,
    changes.PutImages: sessions.put_images,
    changes.DropImages: sessions.drop_images,
    changes.SeeMovie: ledger.see_movie,
    changes.UpdateMovieFile: ledger.update_movie_file,
    changes.MoveMovie: ledger.move_movie,
    changes.PutJob: sessions.put_job,
    changes.MarkJob: sessions.mark_job,
    changes.ReopenJob: sessions.reopen_job,
    changes.PutTasks: tasks.put_tasks,
    changes.StartAttempt: tasks.start_attempt,
    changes.EndTask: tasks.end_task,
    changes.PutBackTask: tasks.put_back_task,
    changes.PutBackTasks: tasks.put_back_tasks,
    changes.PutMetrics: metrics.put_metrics,
    changes.DropResults: results.drop_results,
    changes.PutVerdict: results.put_verdict,
    changes.PutArtifacts: artifacts.put_artifacts,
    changes.QueueEvent: outbox.queue_event,
    changes.MarkPublished: outbox.record_published,
    changes.PruneEvents: outbox.prune_events,
    changes.PutNotification: sessions.put_notification,
    changes.PutDecision: sessions.put_decision,
    changes.SetControl: controls.set_control,
    marks.MarkImage: marks.mark_image,
}


@dataclass(frozen=True, eq=False)
class _Call:
    changes: Sequence[Change]
    done: "Future[None]"


class Writer:
    """Owner of the writing connection. A call's future is resolved after COMMIT, or with the call's own error."""

    def __init__(self, path: Path, connection: Connection, clock: Callable[[], float]) -> None:
        self._path = path
        self._connection = connection
        self._clock = clock
        self.current = CurrentRows(connection)
        self._next_seq = {table: _first_free_seq(connection, table) for table in ("event", "history")}
        self._queue: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._closing = threading.Lock()
        self._closed = False
        self._ended = False
        self.transactions = 0
        self._thread = threading.Thread(target=self._run, name="store-write", daemon=True)
        self._thread.start()

    def submit(self, wanted: Sequence[Change]) -> "Future[None]":
        """Queue a call. The queue is bounded by its callers, each of which waits for its own future."""
        done: Future[None] = Future()
        # A caller that gives up waiting does not take its changes back: a running future cannot be cancelled.
        done.set_running_or_notify_cancel()
        with self._closing:
            if self._closed:
                raise StoreUnavailable(self._path, "it is closed")
            self._queue.put(_Call(wanted, done))
        return done

    @property
    def is_alive(self) -> bool:
        """Whether the thread still writes; it ends with `close` only."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Write what waits, then stop."""
        with self._closing:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        self._thread.join()

    def last_event_seq(self) -> int:
        """Return the seq of the newest committed event, 0 before the first."""
        return self._next_seq["event"] - 1

    def _run(self) -> None:
        """Have one thread after the other write, each for so long."""
        while not self._ended:
            turn = threading.Thread(target=self._write_in_turn, name="store-write-turn", daemon=True)
            turn.start()
            turn.join()

    def _write_in_turn(self) -> None:
        left = _CHANGES_OF_A_THREAD
        self._ended = True  # unless the turn ends as it should
        while left > 0:
            call = self._queue.get()
            group: list[_Call] = []
            size = 0
            while call is not None:
                group.append(call)
                size += len(call.changes)
                if size >= _MOST_CHANGES:
                    break
                try:
                    call = self._queue.get_nowait()
                except queue.Empty:
                    break
            if group:
                self._commit(group)
                left -= size
            if call is None:
                return
        self._ended = False

    def _commit(self, calls: Sequence[_Call]) -> None:
        now_s = self._clock()
        together = Plan(self.current, now_s)
        refused = self._judge(calls, together)
        accepted = [call for call in calls if call not in refused]
        try:
            written = self._write(together) if accepted else self._next_seq
        except Exception as error:  # noqa: BLE001 - whatever is wrong is its caller's to hear; this thread goes on
            if len(calls) == 1:
                calls[0].done.set_exception(self._explain(error))
                return
            # One of them spoils the transaction; alone, each gets its own answer.
            for call in calls:
                self._commit([call])
            return
        self._next_seq = written
        if accepted:
            self.current.absorb(together)
            self.transactions += 1
        for call in accepted:
            call.done.set_result(None)
        # Not sooner: whoever looks why it was refused must see what others have just made true.
        for call, why in refused.items():
            call.done.set_exception(why)

    def _judge(self, calls: Sequence[_Call], together: Plan) -> dict[_Call, Exception]:
        """Bring what is sound of the calls into one plan; return the others, each with what is wrong with it."""
        refused: dict[_Call, Exception] = {}
        for call in calls:
            plan = Plan(together, together.now_s)
            try:
                self.current.fetch_ahead(call.changes)
                for change in call.changes:
                    _HANDLERS[type(change)](change, plan)
            except Exception as error:  # noqa: BLE001 - as above
                refused[call] = error
            else:
                together.merge(plan)
        return refused

    def _write(self, together: Plan) -> dict[str, int]:
        """Write a plan in one transaction; return the first free numbers after it."""
        written = WriteSet(dict(self._next_seq))
        written.gather(together.writes)
        self._connection.begin()
        try:
            written.write(self._connection)
            self._connection.commit()
        except BaseException:
            self._roll_back()
            raise
        return written.next_seq

    def _roll_back(self) -> None:
        try:
            self._connection.rollback()
        except DatabaseError:
            # A COMMIT that failed has ended its transaction itself; the first error is the one to tell.
            return

    def _explain(self, error: Exception) -> Exception:
        if isinstance(error, DuplicateKey):
            return IllegalMove("a new row", f"has the key of one that exists ({error})")
        return explain_failed_commit(self._path, error) if isinstance(error, DatabaseError) else error


def _first_free_seq(connection: Connection, table: str) -> int:
    row = connection.execute(f"SELECT coalesce(max(seq), 0) + 1 FROM {table}").fetchone()
    assert row is not None
    return int(row[0])
