"""Work that stands still is noticed; work that moves, or need not, never is."""

from daemon.app.pulse import Pulse

LIMIT_S = 100.0


class Work:
    """Work and a clock, both as far as the test says."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.done: object = (1, 1)
        self.pulse = Pulse(lambda: self.done, limit_s=LIMIT_S, clock_s=lambda: self.now_s)

    def after(self, seconds: float) -> bool:
        """Whether it has stopped, so much later."""
        self.now_s += seconds
        return self.pulse.has_stopped


def test_work_that_stands_still_past_the_limit_has_stopped_until_it_moves() -> None:
    work = Work()
    assert [work.after(seconds) for seconds in (0, LIMIT_S, 1, 50)] == [False, False, True, True]
    work.done = (2, 1)
    assert [work.after(seconds) for seconds in (0, LIMIT_S, 1)] == [False, False, True]


def test_work_that_moves_never_stops() -> None:
    work = Work()
    for step in range(5):
        work.done = step
        assert not work.after(LIMIT_S - 1)


def test_work_that_need_not_move_has_not_stopped_however_long_that_lasts() -> None:
    work = Work()
    assert not work.after(0)
    work.done = None
    assert [work.after(10 * LIMIT_S), work.after(10 * LIMIT_S)] == [False, False]
    work.done = (1, 1)
    assert [work.after(seconds) for seconds in (10 * LIMIT_S, LIMIT_S, 1)] == [False, False, True]
