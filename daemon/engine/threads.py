"""Threads that read and write files: a call that never returns occupies its thread, and nothing else."""

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

_LOOK_EVERY_S = 10.0


class Lifeline:
    """When a piece of work began and last gave a sign of life; `limit_s` is how long it may be silent."""

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self._last_s: float | None = None

    def touch(self) -> None:
        """The work begins, or goes on; safe from any thread."""
        self._last_s = time.monotonic()

    def left_s(self) -> float:
        """Return how long it may still be silent; work that waits for its turn has all the time."""
        return self.limit_s if self._last_s is None else self.limit_s - (time.monotonic() - self._last_s)


async def wait_alive(future: "Future[T]", lifeline: Lifeline) -> T:
    """Return what the work returns. Raises TimeoutError when its lifeline runs out; the work is left to itself."""
    waited = asyncio.wrap_future(future)
    try:
        while not waited.done():
            left_s = lifeline.left_s()
            if left_s <= 0:
                raise TimeoutError
            await asyncio.wait({waited}, timeout=min(left_s, _LOOK_EVERY_S))
        return waited.result()
    finally:
        waited.cancel()  # of what is over this does nothing; what waits for its turn will not begin
        # An error's traceback holds this frame: it must not hold the error, or a failed stage's arrays live on.
        del waited, future


class FileThreads(Executor):
    """A fixed number of daemon threads: none is ever waited for at the end of the process."""

    def __init__(self, size: int, name: str, watch: Callable[[], AbstractContextManager[None]] = nullcontext) -> None:
        """`watch` makes what each call is run in."""
        self.size = size
        self._watch = watch
        self._inbox: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._stuck: set[str] = set()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._serve, name=f"{name}_{number}", daemon=True) for number in range(size)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> "Future[R]":
        """Queue a call."""
        future: Future[R] = Future()
        self._inbox.put((future, lambda: fn(*args, **kwargs)))
        return future

    async def run_alive(self, what: str, work: Callable[[], T], limit_s: float) -> T:
        """Run `work` on a thread. Raises TimeoutError when it takes longer; then `what` is stuck until it returns."""
        lifeline, returned = Lifeline(limit_s), threading.Event()

        def run() -> T:
            lifeline.touch()
            try:
                return work()
            finally:
                with self._lock:
                    returned.set()
                    self._stuck.discard(what)

        try:
            return await wait_alive(self.submit(run), lifeline)
        except TimeoutError:
            with self._lock:
                if lifeline.left_s() <= 0 and not returned.is_set():
                    self._stuck.add(what)
            raise

    def note(self, what: str, *, is_stuck: bool) -> None:
        """Remember whether work that someone waits for without a limit has kept them waiting for too long."""
        with self._lock:
            (self._stuck.add if is_stuck else self._stuck.discard)(what)

    @property
    def stuck(self) -> frozenset[str]:
        """What is stuck now."""
        with self._lock:
            return frozenset(self._stuck)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False, patience_s: float = 5.0) -> None:
        """End the threads; one that is still busy after `patience_s` is left behind."""
        if cancel_futures:
            self._cancel_queued()
        for _ in self._threads:
            self._inbox.put(None)
        if wait:
            until_s = time.monotonic() + patience_s
            for thread in self._threads:
                thread.join(max(0.0, until_s - time.monotonic()))

    def _cancel_queued(self) -> None:
        while True:
            try:
                queued = self._inbox.get_nowait()
            except queue.Empty:
                return
            if queued is not None:
                queued[0].cancel()

    def _serve(self) -> None:
        while (job := self._inbox.get()) is not None:
            future, call = job
            if not future.set_running_or_notify_cancel():
                continue
            try:
                with self._watch():
                    done = call()
                future.set_result(done)
            except BaseException as error:  # noqa: BLE001 - the waiting side raises it again
                future.set_exception(error)
            finally:
                done = None
                del job, future, call  # an idle thread keeps no movie alive
