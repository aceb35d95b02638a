"""Work on the CPU side by side, with the same bytes however many threads there are.

Splitting one operation over threads changes the order of its sums; giving each thread operations of its own does not.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")

_SHARED: ContextVar[int] = ContextVar("_SHARED", default=1)


def map_in_order(work: Callable[[T], R], items: Iterable[T], *, device: torch.device) -> Iterator[R]:
    """Yield work(item) for each item, in order, as many at once as torch has threads here; on a GPU one by one.

    Each piece of work runs with one thread of its own. Results wait for their turn: at most one more than there are
    threads. What one raises is raised here, and what has not begun is left.
    """
    own_threads = torch.get_num_threads()
    threads = max(own_threads, _SHARED.get())
    if device.type != "cpu" or threads <= 1:
        yield from map(work, items)
        return
    # Threads born while work runs would inherit its setting of one: it is put back by whoever set it before.
    pool = ThreadPoolExecutor(threads, "numerics", initializer=torch.set_num_threads, initargs=(1,))
    try:
        ahead: deque[Future[R]] = deque()
        for item in items:
            ahead.append(pool.submit(work, item))
            if len(ahead) > threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(own_threads)


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
    """Within, `map_in_order` has all threads and everything else one, so that no result depends on their number."""
    token = _SHARED.set(max(torch.get_num_threads(), _SHARED.get()))
    try:
        with single_thread():
            yield
    finally:
        _SHARED.reset(token)
