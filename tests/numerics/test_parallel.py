"""Work side by side: in order, with one thread each, and errors that come through."""

import gc
import threading
from collections.abc import Iterator

import pytest
import torch

from daemon.numerics.motion import MotionEstimate, correct_motion
from daemon.numerics.parallel import map_in_order, only_side_by_side

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_results_come_in_the_order_of_the_items() -> None:
    second_began = threading.Event()

    def work(item: int) -> int:
        if item == 1:
            second_began.set()
        if item == 0:
            assert second_began.wait(60)  # the first ends after the second began: both are under way at once
        return 10 * item

    assert list(map_in_order(work, range(7), device=CPU)) == [0, 10, 20, 30, 40, 50, 60]


def test_each_piece_of_work_has_one_thread_and_the_caller_keeps_its_own() -> None:
    assert set(map_in_order(lambda _: torch.get_num_threads(), range(5), device=CPU)) == {1}
    assert torch.get_num_threads() == 3
    seen: list[int] = []
    born_later = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    born_later.start()
    born_later.join()
    assert seen == [3]


def test_an_error_is_raised_and_what_has_not_begun_is_left() -> None:
    begun = []

    def work(item: int) -> None:
        begun.append(item)
        if item == 1:
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        list(map_in_order(work, range(100), device=CPU))
    assert len(begun) < 100
    assert torch.get_num_threads() == 3


def test_with_one_thread_nothing_else_is_started() -> None:
    torch.set_num_threads(1)
    names = set(map_in_order(lambda _: threading.current_thread().name, range(3), device=CPU))
    assert names == {threading.current_thread().name}


def test_threads_may_be_kept_for_work_side_by_side() -> None:
    with only_side_by_side():
        assert torch.get_num_threads() == 1
        names = set(map_in_order(lambda _: threading.current_thread().name, range(3), device=CPU))
        assert threading.current_thread().name not in names
        nested = [list(map_in_order(lambda _: torch.get_num_threads(), range(2), device=CPU)) for _ in range(2)]
        assert nested == [[1, 1], [1, 1]]
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 3


def test_workers_never_wait_for_one_another() -> None:
    """Work that asks for help itself gets none: with all threads waiting there would be nobody to give it."""
    with only_side_by_side():
        inner = map_in_order(lambda n: list(map_in_order(lambda m: m + n, range(3), device=CPU)), range(8), device=CPU)
        assert list(inner) == [[n, n + 1, n + 2] for n in range(8)]


def test_work_side_by_side_within_other_work_shares_its_threads() -> None:
    with only_side_by_side():
        outer = map_in_order(lambda n: n, range(20), device=CPU)
        sums = [n + sum(map_in_order(lambda m: m, range(5), device=CPU)) for n in outer]
    assert sums == [n + 10 for n in range(20)]
    assert torch.get_num_threads() == 3


def test_what_is_cancelled_in_the_midst_leaves_the_number_of_threads_as_it_was() -> None:
    """The traceback keeps what was under way alive, and drops it wherever the error is dropped."""
    movie_tyx = torch.ones(6, 64, 64)
    still = MotionEstimate((64, 64), torch.zeros(6, 2).double(), None, "nothing moves", 0.0, torch.zeros(6), 9.0)

    def cancel(done: int, total: int) -> None:
        raise RuntimeError(f"cancelled after {done} of {total}")

    caught = None
    try:
        correct_motion(movie_tyx, still, pixel_size_ang=1.0, on_progress=cancel)
    except RuntimeError as error:
        caught = error
    assert torch.get_num_threads() == 3
    del caught
    gc.collect()
    assert torch.get_num_threads() == 3


def test_at_most_so_many_pieces_are_under_way() -> None:
    torch.set_num_threads(6)
    lock, second_began, now, most = threading.Lock(), threading.Event(), 0, 0

    def work(item: int) -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        if item == 1:
            second_began.set()
        assert second_began.wait(60)  # the first ends after the second began: two are under way at once
        with lock:
            now -= 1

    with only_side_by_side():
        list(map_in_order(work, range(30), device=CPU, at_most=2))
    assert most == 2
