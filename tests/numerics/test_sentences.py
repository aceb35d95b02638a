"""Numbers in sentences: one below a limit is not written as the limit."""

import pytest

from daemon.numerics.sentences import say_below


@pytest.mark.parametrize(
    ("value", "said"), [(6.96, "6.9"), (6.999, "6.9"), (7.0, "7.0"), (0.04, "0.0"), (-0.31, "-0.4")]
)
def test_a_value_below_a_limit_is_not_told_as_the_limit(value: float, said: str) -> None:
    assert say_below(value) == said
