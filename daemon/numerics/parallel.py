"""Work on the CPU side by side, with the same bytes however many threads there are.

Splitting one operation over threads changes the order of its sums; giving each thread operations of its own does not.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Self, TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")

MOST_IMAGES_AT_ONCE = 6
"""Where each piece of work holds an image of its own: more would need more memory than stages tell."""

_SHARED: ContextVar["_Workers | None"] = ContextVar("_SHARED", default=None)
_IS_WORKER: ContextVar[bool] = ContextVar("_IS_WORKER", default=False)


def map_in_order(
    work: Callable[[T], R], items: Iterable[T], *, device: torch.device, at_most: int | None = None
) -> Generator[R]:
    """Yield work(item) for each item, in order, as many at once as torch has threads here; on a GPU one by one.

    Each piece of work runs with one thread of its own. Results wait for their turn: at most one more than there are
    threads. `at_most`: no more pieces at once than that, where each takes much memory. What one raises is raised here,
    and what has not begun is left.
    """
    shared = _SHARED.get()
    threads = torch.get_num_threads() if shared is None else shared.threads
    threads = threads if at_most is None else min(threads, at_most)
    if device.type != "cpu" or threads <= 1 or _IS_WORKER.get():
        yield from map(work, items)
    elif shared is not None:
        yield from shared.map(work, items, threads)
    else:
        with _Workers(threads) as workers:
            yield from workers.map(work, items, threads)


class _Workers:
    """Threads that work for whoever asks; none of them ever asks another.

    They say that there is but one thread, also for others that are born: once they have ended, the number holds again
    that held for whoever began them.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._restored = torch.get_num_threads()
        self._pool = ThreadPoolExecutor(threads, "numerics", initializer=_become_worker)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *reason: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        torch.set_num_threads(self._restored)

    def map(self, work: Callable[[T], R], items: Iterable[T], at_once: int) -> Generator[R]:
        """As `map_in_order`."""
        ahead: deque[Future[R]] = deque()
        # One more than there are threads keeps all of them busy; where there are more, it would be under way.
        most = at_once + 1 if at_once == self.threads else at_once
        try:
            for item in items:
                ahead.append(self._pool.submit(work, item))
                if len(ahead) >= most:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            wait([future for future in ahead if not future.cancel()])


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
        torch.set_num_threads(1)
        try:
            yield
        finally:
            _SHARED.reset(token)
