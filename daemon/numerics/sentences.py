"""Numbers in sentences for people."""

import math


def say_below(value: float) -> str:
    """Say a value to a tenth, rounded down: what lies below a limit is not told as having reached it."""
    return f"{math.floor(10 * value) / 10:.1f}"
