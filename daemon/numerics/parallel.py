"""Work on the CPU side by side, with the same bytes however many threads there are.

Splitting one operation over threads changes the order of its sums; giving each thread operations of its own does not.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Self, TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")

_SHARED: ContextVar["_Workers | None"] = ContextVar("_SHARED", default=None)
_IS_WORKER: ContextVar[bool] = ContextVar("_IS_WORKER", default=False)


def map_in_order(work: Callable[[T], R], items: Iterable[T], *, device: torch.device) -> Iterator[R]:
    """Yield work(item) for each item, in order, as many at once as torch has threads here; on a GPU one by one.

    Each piece of work runs with one thread of its own. Results wait for their turn: at most one more than there are
    threads. What one raises is raised here, and what has not begun is left.
    """
    shared = _SHARED.get()
    threads = torch.get_num_threads() if shared is None else shared.threads
    if device.type != "cpu" or threads <= 1 or _IS_WORKER.get():
        yield from map(work, items)
    elif shared is not None:
        yield from shared.map(work, items)
    else:
        with _Workers(threads) as workers:
            yield from workers.map(work, items)


class _Workers:
    """Threads that work for whoever asks; none of them ever asks another."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._pool = ThreadPoolExecutor(threads, "numerics", initializer=_become_worker)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *reason: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def map(self, work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """As `map_in_order`."""
        own_threads = torch.get_num_threads()
        ahead: deque[Future[R]] = deque()
        try:
            for item in items:
                ahead.append(self._pool.submit(work, item))
                if len(ahead) > self.threads:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            wait([future for future in ahead if not future.cancel()])
            # Workers have said that there is but one thread: for others that are born, the caller's number holds again.
            torch.set_num_threads(own_threads)


def _become_worker() -> None:
    """Work alone from now on."""
    _IS_WORKER.set(True)
    torch.get_num_threads()  # takes over the number that holds for threads that are born: only then one's own stays
    torch.set_num_threads(1)


@contextmanager
def single_thread() -> Iterator[None]:
    """Let the calling thread work alone: what is not worth splitting, but must not depend on threads either."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def only_side_by_side() -> Iterator[None]:
    """Within, `map_in_order` has all threads, and the same ones, everything else has one: no result depends on them."""
    if _SHARED.get() is not None:
        with single_thread():
            yield
        return
    with _Workers(torch.get_num_threads()) as workers:
        token = _SHARED.set(workers)
        try:
            with single_thread():
                yield
        finally:
            _SHARED.reset(token)
