"""In which order waiting movies are taken up."""

import pytest

from daemon.engine.backlog import Backlog, Order


def drain(backlog: Backlog) -> list[str]:
    taken = []
    while (movie_id := backlog.take()) is not None:
        taken.append(movie_id)
    return taken


@pytest.mark.parametrize(
    ("order", "taken"),
    [
        ("normal", ["c", "a", "d", "b"]),
        ("oldest", ["a", "b", "c", "d"]),
        ("latest", ["d", "c", "b", "a"]),
        ("alternate", ["d", "a", "c", "b"]),
    ],
)
def test_orders(order: Order, taken: list[str]) -> None:
    backlog = Backlog(order)
    for movie_id in ("c", "a", "d", "b"):
        backlog.offer(movie_id, float(ord(movie_id)))
    assert len(backlog) == 4
    assert drain(backlog) == taken
    assert len(backlog) == 0


def test_a_movie_waits_once() -> None:
    backlog = Backlog("alternate")
    for _ in range(3):
        backlog.offer("a", 1.0)
    backlog.delay("a", 1.0, 50.0)
    assert drain(backlog) == ["a"]
    assert backlog.delayed == 0


def test_an_early_entry_of_a_movie_that_came_again_is_stale() -> None:
    backlog = Backlog("alternate")
    backlog.offer("a", 1.0)
    backlog.offer("b", 2.0)
    assert backlog.take() == "b"  # the newest; its entry among the oldest is stale now
    backlog.offer("b", 0.0)
    assert backlog.take() == "b"  # the oldest, as it stands now
    assert drain(backlog) == ["a"]


def test_equal_times_keep_the_order_of_arrival() -> None:
    backlog = Backlog("oldest")
    for movie_id in ("c", "a", "b"):
        backlog.offer(movie_id, 5.0)
    assert drain(backlog) == ["c", "a", "b"]


def test_suspects_come_first_and_once() -> None:
    backlog = Backlog()
    backlog.offer("a", 1.0)
    backlog.offer("b", 2.0)
    backlog.offer_suspect("b")
    backlog.offer("b", 2.0)
    assert len(backlog) == 2
    assert backlog.take_suspect() == "b"
    assert backlog.take_suspect() is None
    assert drain(backlog) == ["a"]


def test_delayed_movies_come_when_they_are_due() -> None:
    backlog = Backlog()
    backlog.delay("late", 1.0, 20.0)
    backlog.delay("soon", 2.0, 10.0)
    assert (backlog.next_due_s(), backlog.delayed, len(backlog)) == (10.0, 2, 0)
    assert backlog.release_due(9.9) == 0
    assert backlog.release_due(10.0) == 1
    assert drain(backlog) == ["soon"]
    backlog.offer("late", 1.0)  # somebody wants it now
    assert backlog.next_due_s() is None
    assert drain(backlog) == ["late"]


def test_a_withdrawn_movie_is_forgotten() -> None:
    backlog = Backlog("latest")
    for movie_id in ("a", "b"):
        backlog.offer(movie_id, 1.0)
    backlog.offer_suspect("c")
    backlog.delay("d", 1.0, 5.0)
    for movie_id in ("a", "c", "d", "nobody"):
        backlog.withdraw(movie_id)
    assert (backlog.take_suspect(), drain(backlog), backlog.delayed) == (None, ["b"], 0)


@pytest.mark.parametrize("order", ["normal", "oldest", "latest", "alternate"])
def test_memory_follows_the_backlog_not_the_past(order: Order) -> None:
    backlog = Backlog(order)
    for number in range(10):
        backlog.offer(f"early{number}", float(number))
    for number in range(5000):
        backlog.offer(f"m{number}", 10.0 + number)
        assert backlog.take() is not None
    assert len(backlog) == 10
    held = len(backlog._oldest_first) + len(backlog._newest_first)
    assert held <= 200
